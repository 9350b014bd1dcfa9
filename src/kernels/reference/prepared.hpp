// SPDX-License-Identifier: Apache-2.0
// Positions inside an integer row and limits of quantising, see PreparedRows.
#pragma once

#include <cstddef>

namespace skvis::kernels {

// Index of value k in a row read as 16-bit integers: 0 2 1 3 within every four. The even bytes of a
// code word then meet the first pair and the odd bytes the second.
inline constexpr size_t integer_position(size_t k) {
  return k / 4 * 8 + (k % 2) * 2 + k % 4 / 2;
}
// Index of its high byte in a row read as bytes; the low byte lies four further.
inline constexpr size_t high_byte_position(size_t k) {
  return k / 4 * 16 + 8 + k % 4;
}

// Below this maximum a row counts as zero: its reciprocal would leave the range of float.
inline constexpr float kSmallestRow = 1e-30f;

// See QuantiseWeights. A scale of 0 has no code for zero: the comparison fails for what it gives.
inline float centre_code(float scale, float minimum, float top) {
  const float zero = -minimum / scale;
  return zero >= 0 && zero <= top ? zero : (top + 1) / 2;
}

}  // namespace skvis::kernels
