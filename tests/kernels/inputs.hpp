// SPDX-License-Identifier: Apache-2.0
// Inputs shared by the kernel tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/half.hpp"
#include "kernels/table.hpp"

namespace skvis::kernels {

inline const std::vector<size_t> kHeadDims = {32, 40, 48, 64, 80, 96, 128, 256};

enum class Kind { random, outliers, heavy_tailed, zero, denormal };
inline const std::vector<Kind> kKinds = {Kind::random, Kind::outliers, Kind::heavy_tailed,
                                         Kind::zero, Kind::denormal};

class Inputs {
 public:
  explicit Inputs(uint32_t seed) : random_(seed) {}

  // [rows, width]
  std::vector<float> rows(size_t rows, size_t width, Kind kind = Kind::random) {
    std::vector<float> x(rows * width);
    for (size_t i = 0; i < x.size(); ++i) {
      const float normal = normal_(random_);
      switch (kind) {
        case Kind::random:
          x[i] = normal;
          break;
        case Kind::outliers:
          x[i] = i % width % 29 == 3 ? 16 * normal : normal;
          break;
        case Kind::heavy_tailed:
          x[i] = normal * normal * normal;
          break;
        case Kind::zero:
          x[i] = 0;
          break;
        case Kind::denormal:
          x[i] = normal * 1e-40f;
          break;
      }
    }
    return x;
  }
  std::vector<uint8_t> bytes(size_t count) {
    std::vector<uint8_t> bytes(count);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_());
    return bytes;
  }
  std::vector<Half> halves(size_t count, float low, float high) {
    std::uniform_real_distribution<float> uniform(low, high);
    std::vector<Half> halves(count);
    for (Half& half : halves) half = to_half(uniform(random_));
    return halves;
  }

 private:
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
};

// Prepared rows with their memory.
struct Prepared {
  Prepared(size_t rows, size_t depth)
      : data(rows * prepared_row_bytes(depth)), scale(rows), constant(rows) {}
  PreparedRows view() { return {data.data(), scale.data(), constant.data()}; }
  std::vector<uint8_t> data;
  std::vector<float> scale;
  std::vector<float> constant;
};

inline std::vector<Level> vector_levels() {
  const auto levels = available_levels();
  return {levels.begin() + 1, levels.end()};
}

// Levels with a fused multiply-add do exactly what the scalar level does.
inline bool has_fma(Level level) {
  return level != Level::sse4;
}

}  // namespace skvis::kernels
