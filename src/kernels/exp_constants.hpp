// SPDX-License-Identifier: Apache-2.0
// exp(x) = 2^n (1 + r + r^2 P(r)), n = round(x / ln 2), r = x - n ln 2 in two steps (ln 2 is split
// so that n times its high part is exact). P has degree 5; the whole is within 2 ulp.
#pragma once

namespace skvis::kernels {

// Adding it rounds a float below 2^22 to an integer, to nearest even, which then stands in the low
// bits.
inline constexpr float kRoundingShift = 12582912.0f;  // 1.5 * 2^23
inline constexpr int kRoundingShiftBits = 0x4b400000;

}  // namespace skvis::kernels

namespace skvis::kernels::exp_constants {

inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kLn2High = 0.693359375f;
inline constexpr float kLn2Low = -2.12194440e-4f;
inline constexpr float kLowest = -87.0f;  // exp is just normal here
// Minimax coefficients of the Cephes library's expf, highest power first.
inline constexpr float kPolynomial[6] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                         4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};

}  // namespace skvis::kernels::exp_constants
