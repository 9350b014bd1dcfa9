// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (RoFormer, 2021) in the half-split form of Hugging Face's models:
// channel i turns together with channel i + head_dim / 2. Models supply the table; the cache
// rotates, because some codes keep keys unrotated and some selectors want unrotated queries.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace skvis {

struct RotaryTable {
  std::vector<double> inverse_frequency;  // [head_dim / 2] radians per position
  double scale = 1.0;                     // multiplies cosine and sine (YaRN's attention factor)
};

// cos_sin: [2, head_dim / 2], the cosines, then the sines, of one position.
inline void rotary_angles(const RotaryTable& table, uint32_t position, float* cos_sin) {
  const size_t half = table.inverse_frequency.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * table.inverse_frequency[i];
    cos_sin[i] = static_cast<float>(std::cos(angle) * table.scale);
    cos_sin[half + i] = static_cast<float>(std::sin(angle) * table.scale);
  }
}

// Rotates `in` [2 * half] by the angles of rotary_angles into `out`; in == out is allowed.
inline void rotate_row(const float* in, const float* cos_sin, size_t half, float* out) {
  for (size_t i = 0; i < half; ++i) {
    const float a = in[i];
    const float b = in[half + i];
    const float cosine = cos_sin[i];
    const float sine = cos_sin[half + i];
    out[i] = a * cosine - b * sine;
    out[half + i] = b * cosine + a * sine;
  }
}

}  // namespace skvis
