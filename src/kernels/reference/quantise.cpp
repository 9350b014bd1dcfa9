// SPDX-License-Identifier: Apache-2.0
// Preparing the rows x of a code product: as floats (the scalar level) and as integers (the twins
// of the vector levels).
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/exp_constants.hpp"
#include "kernels/reference/prepared.hpp"
#include "kernels/reference/reference.hpp"

namespace skvis::kernels::reference {
namespace {

// The largest magnitude; not a number where a value is not finite.
template <typename Value>
float largest_of(size_t depth, Value value) {
  float largest = 0;
  for (size_t k = 0; k < depth; ++k) {
    const float magnitude = std::fabs(value(k));
    if (!(magnitude <= std::numeric_limits<float>::max())) {
      return std::numeric_limits<float>::quiet_NaN();
    }
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

float scale_of(float largest, float steps) {
  return std::isnan(largest) ? largest : largest >= kSmallestRow ? largest / steps : 0.0f;
}

void* row_data(const PreparedRows& out, size_t row, size_t depth) {
  return static_cast<char*>(out.data) + row * prepared_row_bytes(depth);
}

int rounded_product(float value, float inverse) {
  return static_cast<int>(std::fma(value, inverse, kRoundingShift) - kRoundingShift);
}

// Writes a row; returns the sum of its integers.
template <typename Value>
int32_t integer_row(size_t depth, float largest, Value value, void* data) {
  auto* integers = static_cast<int16_t*>(data);
  auto* bytes = static_cast<int8_t*>(data);
  const bool usable = largest >= kSmallestRow;
  const float inverse = usable ? kWideMax / largest : 0.0f;
  int32_t sum = 0;
  for (size_t k = 0; k < depth; ++k) {
    const int n = usable ? rounded_product(value(k), inverse) : 0;
    const auto low = static_cast<int8_t>(n & 0xff);
    integers[integer_position(k)] = static_cast<int16_t>(n);
    bytes[high_byte_position(k)] = static_cast<int8_t>((n - low) / 256);
    bytes[high_byte_position(k) + 4] = low;
    sum += n;
  }
  return sum;
}

// The constant of a row whose integers are n(t).
template <typename Integer>
float centred_constant(const QuantiseWeights& p, size_t row, Integer n) {
  float levels[16] = {};
  float centres[16] = {};
  for (size_t t = 0; t < p.depth; ++t) {
    const float scale = to_float(p.scale[t]);
    const float minimum = to_float(p.minimum[t]);
    const float centre = centre_code(scale, minimum, top_code(p.bits));
    const float level = std::fma(centre, scale, minimum);
    levels[t % 16] = std::fma(p.p[row * p.p_stride + t], level, levels[t % 16]);
    centres[t % 16] = std::fma(static_cast<float>(n(t)), centre, centres[t % 16]);
  }
  return std::fma(-p.out.scale[row], sum_of_lanes(centres), sum_of_lanes(levels));
}

}  // namespace

void quantise_query(const QuantiseQuery& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.x_stride;
    double sum = 0;
    for (size_t k = 0; k < p.depth; ++k) sum += x[k];
    std::memcpy(row_data(p.out, row, p.depth), x, p.depth * sizeof(float));
    p.out.scale[row] = 1;
    p.out.constant[row] = static_cast<float>(sum);
  }
}

void quantise_weights(const QuantiseWeights& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    auto* out = static_cast<float*>(row_data(p.out, row, p.depth));
    for (size_t t = 0; t < p.depth; ++t) {
      out[t] = p.p[row * p.p_stride + t] * to_float(p.scale[t]);
    }
    double constant = 0;
    for (size_t t = 0; t < p.depth; ++t) {
      constant += static_cast<double>(p.p[row * p.p_stride + t]) * to_float(p.minimum[t]);
    }
    p.out.scale[row] = 1;
    p.out.constant[row] = static_cast<float>(constant);
  }
}

void quantise_query_integer(const QuantiseQuery& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.x_stride;
    const auto value = [x](size_t k) { return x[k]; };
    const float largest = largest_of(p.depth, value);
    const int32_t sum = integer_row(p.depth, largest, value, row_data(p.out, row, p.depth));
    p.out.scale[row] = scale_of(largest, kWideMax);
    p.out.constant[row] = p.out.scale[row] * static_cast<float>(sum);
  }
}

void quantise_weights_integer(const QuantiseWeights& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    const float* weights = p.p + row * p.p_stride;
    const auto value = [&p, weights](size_t t) { return weights[t] * to_float(p.scale[t]); };
    const float largest = largest_of(p.depth, value);
    void* data = row_data(p.out, row, p.depth);
    integer_row(p.depth, largest, value, data);
    p.out.scale[row] = scale_of(largest, kWideMax);
    const auto* n = static_cast<const int16_t*>(data);
    p.out.constant[row] =
        centred_constant(p, row, [n](size_t t) { return n[integer_position(t)]; });
  }
}

}  // namespace skvis::kernels::reference
