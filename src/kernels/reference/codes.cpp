// SPDX-License-Identifier: Apache-2.0
// Products with codes: once with rows prepared as floats (the scalar level), once with rows
// prepared as integers (the twins of the vector levels).
#include <cmath>

#include "kernels/reference/prepared.hpp"
#include "kernels/reference/reference.hpp"

namespace skvis::kernels::reference {
namespace {

int code_at(CodeBits bits, const CodeProduct& p, size_t lane, size_t k) {
  if (bits == CodeBits::eight) return p.codes[int8_index(p.lanes, p.depth, lane, k)];
  const uint8_t byte = p.codes[int4_index(p.lanes, p.depth, lane, k)];
  return k % 8 < 4 ? byte & 15 : byte >> 4;
}

double float_sum(CodeBits bits, const CodeProduct& p, size_t row, size_t lane) {
  const float* x = static_cast<const float*>(p.x.data) + row * p.depth;
  double sum = 0;
  for (size_t k = 0; k < p.depth; ++k) sum += static_cast<double>(x[k]) * code_at(bits, p, lane, k);
  return sum;
}

// The sum of n c. Fits: 256 * 255 * 32512 < 2^31.
int32_t integer_sum(CodeBits bits, const CodeProduct& p, size_t row, size_t lane) {
  const auto* x = static_cast<const int16_t*>(p.x.data) + row * 2 * p.depth;
  int32_t sum = 0;
  for (size_t k = 0; k < p.depth; ++k) sum += x[integer_position(k)] * code_at(bits, p, lane, k);
  return sum;
}

}  // namespace

void code_dot(CodeBits bits, const CodeProduct& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    for (size_t lane = 0; lane < p.lanes; ++lane) {
      const double value = float_sum(bits, p, row, lane) * to_float(p.scale[lane]) +
                           static_cast<double>(p.x.constant[row]) * to_float(p.minimum[lane]);
      p.out[row * p.out_stride + lane] = static_cast<float>(value);
    }
  }
}

void code_accumulate(CodeBits bits, const CodeProduct& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    for (size_t lane = 0; lane < p.lanes; ++lane) {
      const double value = float_sum(bits, p, row, lane) + p.x.constant[row];
      p.out[row * p.out_stride + lane] += static_cast<float>(value);
    }
  }
}

void code_dot_integer(CodeBits bits, const CodeProduct& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    for (size_t lane = 0; lane < p.lanes; ++lane) {
      const float sum = p.x.scale[row] * static_cast<float>(integer_sum(bits, p, row, lane));
      const float constant = p.x.constant[row] * to_float(p.minimum[lane]);
      p.out[row * p.out_stride + lane] = std::fma(sum, to_float(p.scale[lane]), constant);
    }
  }
}

void code_accumulate_integer(CodeBits bits, const CodeProduct& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    for (size_t lane = 0; lane < p.lanes; ++lane) {
      const auto sum = static_cast<float>(integer_sum(bits, p, row, lane));
      p.out[row * p.out_stride + lane] += std::fma(p.x.scale[row], sum, p.x.constant[row]);
    }
  }
}

}  // namespace skvis::kernels::reference
