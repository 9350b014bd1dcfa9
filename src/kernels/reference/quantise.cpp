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

struct Extent {
  float largest = 0;  // magnitude
  float squares = 0;  // sum, in 8 lanes
  bool finite = true;
  bool usable() const { return finite && largest >= kSmallestRow; }
};

template <typename Value>
Extent extent_of(size_t depth, Value value) {
  Extent extent;
  float lanes[8] = {};
  for (size_t k = 0; k < depth; ++k) {
    const float magnitude = std::fabs(value(k));
    extent.finite = extent.finite && magnitude <= std::numeric_limits<float>::max();
    if (magnitude > extent.largest) extent.largest = magnitude;
    lanes[k % 8] += magnitude * magnitude;
  }
  extent.squares = sum_of_lanes(lanes);
  return extent;
}

float scale_of(const Extent& extent, float steps) {
  if (!extent.finite) return std::numeric_limits<float>::quiet_NaN();
  return extent.usable() ? extent.largest / steps : 0.0f;
}

int rounded_product(float value, float inverse) {
  return static_cast<int>(std::fma(value, inverse, kRoundingShift) - kRoundingShift);
}

void* row_data(const PreparedRows& out, size_t row, size_t depth) {
  return static_cast<char*>(out.data) + row * prepared_row_bytes(depth);
}

// Writes a wide row and returns the sum of its integers.
template <typename Value>
int32_t wide_row(const PreparedRows& out, size_t row, size_t depth, const Extent& extent,
                 bool coarse, Value value) {
  auto* integers = static_cast<int16_t*>(row_data(out, row, depth));
  auto* bytes = static_cast<int8_t*>(row_data(out, row, depth));
  const float steps = coarse ? kWideMax / 256 : kWideMax;
  const float inverse = extent.usable() ? steps / extent.largest : 0.0f;
  out.scale[row] = scale_of(extent, kWideMax);
  int32_t sum = 0;
  for (size_t k = 0; k < depth; ++k) {
    const int rounded = extent.usable() ? rounded_product(value(k), inverse) : 0;
    const int n = coarse ? rounded * 256 : rounded;
    const auto low = static_cast<int8_t>(n & 0xff);
    integers[integer_position(k)] = static_cast<int16_t>(n);
    bytes[high_byte_position(k)] = static_cast<int8_t>((n - low) / 256);
    bytes[high_byte_position(k) + 4] = low;
    sum += n;
  }
  return sum;
}

template <typename Value>
void byte_row(const PreparedRows& out, size_t row, size_t depth, const Extent& extent,
              Value value) {
  auto* bytes = static_cast<uint8_t*>(row_data(out, row, depth));
  const float inverse = extent.usable() ? kByteMax / extent.largest : 0.0f;
  out.scale[row] = scale_of(extent, kByteMax);
  int32_t sum = 0;
  for (size_t k = 0; k < depth; ++k) {
    const int n = extent.usable() ? rounded_product(value(k), inverse) : 0;
    bytes[k] = static_cast<uint8_t>(n);
    sum += n;
  }
  std::memcpy(bytes + depth, &sum, sizeof sum);
}

// sum of p * minimum + middle * w
float weights_constant(const QuantiseWeights& p, size_t row, int middle) {
  float lanes[16] = {};
  for (size_t t = 0; t < p.depth; ++t) {
    const float level =
        std::fma(static_cast<float>(middle), to_float(p.scale[t]), to_float(p.minimum[t]));
    lanes[t % 16] = std::fma(p.p[row * p.p_stride + t], level, lanes[t % 16]);
  }
  return sum_of_lanes(lanes);
}

}  // namespace

bool quantise_query(const QuantiseQuery& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.x_stride;
    double sum = 0;
    for (size_t k = 0; k < p.depth; ++k) sum += x[k];
    std::memcpy(row_data(p.out, row, p.depth), x, p.depth * sizeof(float));
    p.out.scale[row] = 1;
    p.out.constant[row] = static_cast<float>(sum);
  }
  return false;
}

void quantise_weights(const QuantiseWeights& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    auto* out = static_cast<float*>(row_data(p.out, row, p.depth));
    for (size_t t = 0; t < p.depth; ++t) {
      out[t] = p.p[row * p.p_stride + t] * to_float(p.scale[t]);
    }
    p.out.scale[row] = 1;
    p.out.constant[row] = weights_constant(p, row, 0);
  }
}

bool quantise_query_integer(const QuantiseQuery& p) {
  Extent extents[kMaxRows];
  bool coarse = p.bits == CodeBits::four;
  for (size_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.x_stride;
    const Extent& extent = extents[row] = extent_of(p.depth, [x](size_t k) { return x[k]; });
    coarse = coarse && extent.largest * extent.largest * static_cast<float>(p.depth) <=
                           kCoarseCrestSquared * extent.squares;
  }
  for (size_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.x_stride;
    const int32_t sum =
        wide_row(p.out, row, p.depth, extents[row], coarse, [x](size_t k) { return x[k]; });
    p.out.constant[row] = p.out.scale[row] * static_cast<float>(sum);
  }
  return coarse;
}

void quantise_weights_integer(const QuantiseWeights& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    const float* weights = p.p + row * p.p_stride;
    const auto value = [&p, weights](size_t t) { return weights[t] * to_float(p.scale[t]); };
    const Extent extent = extent_of(p.depth, value);
    if (p.bits == CodeBits::eight) {
      wide_row(p.out, row, p.depth, extent, false, value);
    } else {
      byte_row(p.out, row, p.depth, extent, value);
    }
    p.out.constant[row] = weights_constant(p, row, p.bits == CodeBits::eight ? 0 : kMiddleCode);
  }
}

}  // namespace skvis::kernels::reference
