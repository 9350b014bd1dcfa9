// SPDX-License-Identifier: Apache-2.0
// Products with exact elements. Terms are added one after the other in order of k with a fused
// multiply-add, so that vector levels, whose lanes are the same sums, agree bit for bit.
#include <algorithm>
#include <cmath>

#include "kernels/reference/reference.hpp"

namespace skvis::kernels::reference {
namespace {

float element(ElementType type, const void* matrix, size_t index) {
  switch (type) {
    case ElementType::f32:
      return static_cast<const float*>(matrix)[index];
    case ElementType::f16:
      return to_float(static_cast<const Half*>(matrix)[index]);
    case ElementType::bf16:
      return to_float(static_cast<const BFloat16*>(matrix)[index]);
  }
  return 0;
}

}  // namespace

void exact_product(ElementType type, const ExactProduct& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.x_stride;
    for (size_t lane = 0; lane < p.lanes; ++lane) {
      float& out = p.out[row * p.out_stride + lane];
      float sum = p.add ? out : 0.0f;
      for (size_t k = 0; k < p.depth; ++k) {
        const size_t index =
            p.row_stride != 0 ? k * p.row_stride + lane : exact_index(p.lanes, p.depth, lane, k);
        sum = std::fma(x[k], element(type, p.matrix, index), sum);
      }
      out = sum;
    }
  }
}

void row_dots(ElementType type, const RowDots& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.x_stride;
    for (size_t token = 0; token < p.tokens; ++token) {
      float lanes[16] = {};
      for (size_t k = 0; k < p.depth; ++k) {
        lanes[k % 16] =
            std::fma(x[k], element(type, p.matrix, token * p.row_stride + k), lanes[k % 16]);
      }
      p.out[row * p.out_stride + token] = sum_of_lanes(lanes);
    }
  }
}

void hadamard(float* x, size_t count, size_t order) {
  const float norm = 1.0f / std::sqrt(static_cast<float>(order));
  for (size_t stride = 1; stride < order; stride *= 2) {
    for (size_t block = 0; block < count; block += 2 * stride) {
      for (size_t i = block; i < block + stride; ++i) {
        const float a = x[i];
        const float b = x[i + stride];
        x[i] = a + b;
        x[i + stride] = a - b;
      }
    }
  }
  for (size_t i = 0; i < count; ++i) x[i] *= norm;
}

}  // namespace skvis::kernels::reference
