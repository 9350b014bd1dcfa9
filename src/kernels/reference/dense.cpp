// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/dense.hpp"

#include <cmath>
#include <cstring>

namespace skvis {
namespace {

float weight_at(const LinearTile& tile, size_t feature, size_t k) {
  const std::byte* strip =
      tile.weights + feature / kStripFeatures * strip_bytes(tile.format, tile.inputs);
  const size_t lane = feature % kStripFeatures;
  uint16_t bits = 0;
  switch (tile.format) {
    case WeightFormat::f32: {
      float value = 0;
      std::memcpy(&value, strip + (k * kStripFeatures + lane) * sizeof(float), sizeof(value));
      return value;
    }
    case WeightFormat::f16:
      std::memcpy(&bits, strip + (k * kStripFeatures + lane) * 2, sizeof(bits));
      return to_float(Half{bits});
    case WeightFormat::bf16:
      std::memcpy(&bits, strip + ((k / 2 * kStripFeatures + lane) * 2 + k % 2) * 2, sizeof(bits));
      return to_float(BFloat16{bits});
  }
  return 0;
}

void linear(const LinearTile& tile) {
  for (size_t r = 0; r < tile.rows; ++r) {
    const float* x = tile.x + r * tile.x_stride;
    for (size_t f = 0; f < tile.features; ++f) {
      float sum = 0;
      for (size_t k = 0; k < tile.inputs; ++k) sum += x[k] * weight_at(tile, f, k);
      tile.y[r * tile.y_stride + f] = tile.bias != nullptr ? sum + tile.bias[f] : sum;
    }
  }
}

void to_half_row(const float* x, size_t n, Half* out) {
  for (size_t i = 0; i < n; ++i) out[i] = to_half(x[i]);
}

void rms_norm(const float* x, const float* weight, size_t n, float eps, float* y) {
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  for (size_t i = 0; i < n; ++i) y[i] = x[i] * scale * weight[i];
}

void silu_multiply(const float* gate, const float* up, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void add(const float* x, size_t n, float* sum) {
  for (size_t i = 0; i < n; ++i) sum[i] += x[i];
}

constexpr DenseKernels kReference{.level = "scalar",
                                  .linear = linear,
                                  .to_half_row = to_half_row,
                                  .rms_norm = rms_norm,
                                  .silu_multiply = silu_multiply,
                                  .add = add};

}  // namespace

const DenseKernels& dense_reference() {
  return kReference;
}

}  // namespace skvis
