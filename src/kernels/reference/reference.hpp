// SPDX-License-Identifier: Apache-2.0
// Scalar kernels: the specification of every other level.
#pragma once

#include "kernels/table.hpp"

namespace skvis::kernels::reference {

// The scalar level. Its prepared rows are floats (see PreparedRows), so that its attention is exact
// to float precision and everything else can be judged by it.
Kernels scalar_kernels();

void exact_product(ElementType type, const ExactProduct& p);
void row_dots(ElementType type, const RowDots& p);
void load_elements(ElementType type, const void* from, size_t count, float* to);
void store_elements(ElementType type, const float* from, size_t count, void* to);
void transpose(const Transposition& p);
void code_dot(CodeBits bits, const CodeProduct& p);
void code_accumulate(CodeBits bits, const CodeProduct& p);
void quantise_query(const QuantiseQuery& p);
void quantise_weights(const QuantiseWeights& p);
void hadamard(float* x, size_t count, size_t order);
float row_max(const float* x, size_t count);
float exp_sum(float* x, size_t count, float max);
void softmax_rows(const SoftmaxRows& p);
void scale(float* x, size_t count, float factor);
void add_scaled(float* x, const float* y, size_t count, float factor);

// The scalar twins of the integer levels: the same integers, the same sums, one value at a time.
void code_dot_integer(CodeBits bits, const CodeProduct& p);
void code_accumulate_integer(CodeBits bits, const CodeProduct& p);
void quantise_query_integer(const QuantiseQuery& p);
void quantise_weights_integer(const QuantiseWeights& p);

// Sum of lanes, a power of two, in the order every level uses: halves onto each other.
template <size_t kLanes>
inline float sum_of_lanes(float (&lanes)[kLanes]) {
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

}  // namespace skvis::kernels::reference
