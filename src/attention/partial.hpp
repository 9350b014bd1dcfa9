// SPDX-License-Identifier: Apache-2.0
// A partial result of attention over some of the keys: (maximum, sum, accumulator) per query row.
// Partials over different pages, codes or classes merge into the result over all of them
// (FlashAttention, 2022; FlashInfer's attention state). Merging two empty partials gives an empty
// one.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/table.hpp"

namespace skvis {

inline constexpr float kEmptyMaximum = -std::numeric_limits<float>::infinity();

// Views into memory of the step. maximum: the largest logit seen; sum: of exp(logit - maximum);
// accumulator: of exp(logit - maximum) * value.
struct Partial {
  float* maximum = nullptr;      // [rows]
  float* sum = nullptr;          // [rows]
  float* accumulator = nullptr;  // [rows, width]
  size_t rows = 0;
  size_t width = 0;

  static size_t floats(size_t rows, size_t width) { return rows * (2 + width); }
  static Partial at(float* memory, size_t rows, size_t width) {
    return {memory, memory + rows, memory + 2 * rows, rows, width};
  }

  void clear() const {
    for (size_t row = 0; row < rows; ++row) {
      maximum[row] = kEmptyMaximum;
      sum[row] = 0;
    }
    for (size_t i = 0; i < rows * width; ++i) accumulator[i] = 0;
  }

  // Turns the logits [count] of rows [row, row + number), `stride` apart, into weights
  // exp(logit - maximum), -infinity into 0, after rescaling what the rows have gathered to their
  // new maxima. At most kernels::kMaxRows rows.
  void add_logits(const kernels::Kernels& kernels, size_t row, size_t number, float* logits,
                  size_t stride, size_t count) const {
    float factor[kernels::kMaxRows];
    kernels.softmax_rows({.logits = logits,
                          .stride = stride,
                          .count = count,
                          .rows = number,
                          .maximum = maximum + row,
                          .sum = sum + row,
                          .factor = factor});
    for (size_t i = 0; i < number; ++i) {
      if (factor[i] != 1.0f) kernels.scale(accumulator + (row + i) * width, width, factor[i]);
    }
  }

  // this = this merged with `other`, of the same rows and width.
  void merge(const kernels::Kernels& kernels, const Partial& other) const {
    for (size_t row = 0; row < rows; ++row) {
      if (other.maximum[row] == kEmptyMaximum) continue;
      const float highest = std::fmax(maximum[row], other.maximum[row]);
      const float keep = std::exp(maximum[row] - highest);
      const float take = std::exp(other.maximum[row] - highest);
      float* target = accumulator + row * width;
      if (keep != 1.0f) kernels.scale(target, width, keep);
      kernels.add_scaled(target, other.accumulator + row * width, width, take);
      sum[row] = sum[row] * keep + other.sum[row] * take;
      maximum[row] = highest;
    }
  }
};

}  // namespace skvis
