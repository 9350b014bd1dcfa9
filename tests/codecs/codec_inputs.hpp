// SPDX-License-Identifier: Apache-2.0
// Every code of the registry, rows to store in it, and a page's block with its memory.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/aligned.hpp"
#include "codecs/codec.hpp"
#include "kernels/table.hpp"

namespace skvis {

inline const std::vector<uint32_t> kHeadDims = {32, 40, 48, 64, 80, 96, 128, 256};

// Every codec alone and with every transform.
inline std::vector<Code> all_codes() {
  std::vector<Code> codes;
  for (const Codec* codec : codecs()) {
    codes.push_back({codec, nullptr});
    for (const Transform* transform : transforms()) codes.push_back({codec, transform});
  }
  return codes;
}

enum class Rows { random, heavy_tailed, outlier_channels, constant, zero, denormal };

// [rows, head_dim]
inline std::vector<float> make_rows(Rows kind, size_t rows, size_t head_dim, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(rows * head_dim);
  for (size_t i = 0; i < x.size(); ++i) {
    const float value = normal(random);
    const size_t channel = i % head_dim;
    switch (kind) {
      case Rows::random:
        x[i] = value;
        break;
      case Rows::heavy_tailed:
        x[i] = value * std::fabs(value);
        break;
      case Rows::outlier_channels:
        x[i] = channel % 32 == 5 ? 16 * value : value;
        break;
      case Rows::constant:
        x[i] = 0.3f + static_cast<float>(i / head_dim);
        break;
      case Rows::zero:
        x[i] = 0;
        break;
      case Rows::denormal:
        x[i] = value * 1e-39f;
        break;
    }
  }
  return x;
}

struct Block {
  Block(const Code& of, BlockContext with) : code(of), context(with), bytes(of.block_bytes(with)) {
    std::memset(bytes.data(), 0, bytes.size());
  }
  bool encode(const float* rows, uint32_t count, uint32_t first_slot = 0) {
    const size_t width = context.head_dim;
    return code.encode(context, {rows, count, width, width}, first_slot, bytes.data());
  }
  std::vector<float> decode() const {
    std::vector<float> rows(size_t{context.slots} * context.head_dim);
    code.decode(context, bytes.data(), 0, context.slots, rows.data());
    return rows;
  }
  bool same_bytes(const Block& other) const {
    return bytes.size() == other.bytes.size() &&
           std::memcmp(bytes.data(), other.bytes.data(), bytes.size()) == 0;
  }

  Code code;
  BlockContext context;
  AlignedBuffer<std::byte> bytes;
};

// ||a - b||^2 / ||b||^2
template <typename A, typename B>
double relative_square_error(const A* a, const B* b, size_t count) {
  double error = 0, size = 0;
  for (size_t i = 0; i < count; ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    error += difference * difference;
    size += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return size > 0 ? error / size : error;
}

}  // namespace skvis
