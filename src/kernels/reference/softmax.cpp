// SPDX-License-Identifier: Apache-2.0
// Parts of a softmax, and the scalar table.
#include <cmath>
#include <limits>

#include "kernels/exp_constants.hpp"
#include "kernels/reference/reference.hpp"

namespace skvis::kernels::reference {
namespace {

// exp(x) for x <= 88; 0 below -87, where the result would leave the normal range.
float fast_exp(float x) {
  if (x < exp_constants::kLowest) return 0;
  const float n = std::fma(x, exp_constants::kLog2E, kRoundingShift) - kRoundingShift;
  float r = std::fma(n, -exp_constants::kLn2High, x);
  r = std::fma(n, -exp_constants::kLn2Low, r);
  float y = exp_constants::kPolynomial[0];
  for (size_t i = 1; i < 6; ++i) y = std::fma(y, r, exp_constants::kPolynomial[i]);
  y = std::fma(y, r * r, r) + 1.0f;
  return std::isnan(y) ? y : std::ldexp(y, static_cast<int>(n));
}

template <ElementType type>
void exact_product_of(const ExactProduct& p) {
  exact_product(type, p);
}
template <ElementType type>
void row_dots_of(const RowDots& p) {
  row_dots(type, p);
}
template <ElementType type>
void load_elements_of(const void* from, size_t count, float* to) {
  load_elements(type, from, count, to);
}
template <ElementType type>
void store_elements_of(const float* from, size_t count, void* to) {
  store_elements(type, from, count, to);
}
template <CodeBits bits>
void code_dot_of(const CodeProduct& p) {
  code_dot(bits, p);
}
template <CodeBits bits>
void code_accumulate_of(const CodeProduct& p) {
  code_accumulate(bits, p);
}

}  // namespace

float row_max(const float* x, size_t count) {
  float largest = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

float exp_sum(float* x, size_t count, float max) {
  float lanes[16] = {};
  const bool nothing = max == -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < count; ++i) {
    x[i] = nothing ? 0.0f : fast_exp(x[i] - max);
    lanes[i % 16] += x[i];
  }
  return sum_of_lanes(lanes);
}

void softmax_rows(const SoftmaxRows& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    float* x = p.logits + row * p.stride;
    const float before = p.maximum[row];
    const float highest = std::fmax(before, row_max(x, p.count));
    p.factor[row] = highest == before ? 1.0f : fast_exp(before - highest);
    p.maximum[row] = highest;
    p.sum[row] = std::fma(p.sum[row], p.factor[row], exp_sum(x, p.count, highest));
  }
}

void scale(float* x, size_t count, float factor) {
  for (size_t i = 0; i < count; ++i) x[i] *= factor;
}

void add_scaled(float* x, const float* y, size_t count, float factor) {
  for (size_t i = 0; i < count; ++i) x[i] = std::fma(factor, y[i], x[i]);
}

Kernels scalar_kernels() {
  return {
      .level = Level::scalar,
      .exact_product = {exact_product_of<ElementType::f32>, exact_product_of<ElementType::f16>,
                        exact_product_of<ElementType::bf16>},
      .row_dots = {row_dots_of<ElementType::f32>, row_dots_of<ElementType::f16>,
                   row_dots_of<ElementType::bf16>},
      .load_elements = {load_elements_of<ElementType::f32>, load_elements_of<ElementType::f16>,
                        load_elements_of<ElementType::bf16>},
      .store_elements = {store_elements_of<ElementType::f32>, store_elements_of<ElementType::f16>,
                         store_elements_of<ElementType::bf16>},
      .transpose = transpose,
      .code_dot = {code_dot_of<CodeBits::eight>, code_dot_of<CodeBits::four>},
      .code_accumulate = {code_accumulate_of<CodeBits::eight>, code_accumulate_of<CodeBits::four>},
      .quantise_query = quantise_query,
      .quantise_weights = quantise_weights,
      .hadamard = hadamard,
      .row_max = row_max,
      .exp_sum = exp_sum,
      .softmax_rows = softmax_rows,
      .scale = scale,
      .add_scaled = add_scaled};
}

}  // namespace skvis::kernels::reference
