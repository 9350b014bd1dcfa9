// SPDX-License-Identifier: Apache-2.0
// Which function serves which level. A level is a bundle of CPU features; levels can be listed,
// forced and compared. All levels compute the same function: exact products add their terms in the
// same order everywhere, integer sums are exact, and whatever is written into a page is
// bit-identical.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "kernels/params.hpp"

namespace skvis::kernels {

enum class Level : uint8_t {
  scalar,  // plain loops, the specification
  sse4,    // 128-bit vectors without FMA and F16C
  neon,
  avx2,         // with FMA and F16C
  avx512,       // F, BW, DQ, VL, CD
  avx512_vnni,  // and byte dot products
};
inline constexpr size_t kLevels = 6;

std::string_view level_name(Level level);

struct Kernels {
  Level level;

  // Products with exact elements, by ElementType.
  void (*exact_product[kElementTypes])(const ExactProduct&);
  void (*row_dots[kElementTypes])(const RowDots&);

  // Elements to floats and back, by ElementType, bit for bit as base/half.hpp says. Any count.
  void (*load_elements[kElementTypes])(const void* from, size_t count, float* to);
  void (*store_elements[kElementTypes])(const float* from, size_t count, void* to);
  void (*transpose)(const Transposition&);

  // Products with codes, by CodeBits; x must have been prepared by this table.
  void (*code_dot[kCodeBits])(const CodeProduct&);
  void (*code_accumulate[kCodeBits])(const CodeProduct&);
  // A row without finite maximum gets the scale NaN, so that nothing wrong looks right.
  void (*quantise_query)(const QuantiseQuery&);
  void (*quantise_weights)(const QuantiseWeights&);

  // Orthonormal Hadamard transform of every block of `order` values, in place. `order` a power of
  // two that divides `count`. Its own inverse.
  void (*hadamard)(float* x, size_t count, size_t order);

  // Softmax in parts. row_max of nothing is -infinity. exp_sum replaces x by exp(x - max), 0 where
  // x is -infinity, and returns the sum; max, at least as large as every x, may be -infinity and
  // gives zeros. Both for any count.
  float (*row_max)(const float* x, size_t count);
  float (*exp_sum)(float* x, size_t count, float max);
  void (*softmax_rows)(const SoftmaxRows&);             // both, for all rows of a page
  void (*scale)(float* x, size_t count, float factor);  // x *= factor
  void (*add_scaled)(float* x, const float* y, size_t count, float factor);  // x += factor * y
};

// The levels this machine can run, slowest first; never empty.
std::span<const Level> available_levels();
// `level` must be available.
const Kernels& kernels_at(Level level);
// The level of this process: the best one, unless the environment variable SKVIS_KERNELS or a call
// of force_level names another. Reading it is cheap; do so once per step all the same.
const Kernels& active_kernels();
// Not while a step runs. Fails with the list of available levels.
Result<void> force_level(std::string_view name);

}  // namespace skvis::kernels
