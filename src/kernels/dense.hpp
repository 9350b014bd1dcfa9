// SPDX-License-Identifier: Apache-2.0
// Dense compute: products with packed weights, and the small functions of a row around them. Pure
// loops on pointers; who calls them from which thread is decided above.
//
// A row's result depends on that row alone: every output is one chain of fused multiply-adds over
// the inputs in ascending order, however many rows or features a call has. So the bits of a row are
// the same alone and among 512, which slices of a prompt rely on. They differ between levels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/half.hpp"

namespace skvis {

// How a packed weight is stored; products accumulate in F32 whatever the format.
enum class WeightFormat : uint8_t { f32, f16, bf16 };

std::string_view weight_format_name(WeightFormat format);
inline constexpr size_t weight_bytes(WeightFormat format) {
  return format == WeightFormat::f32 ? 4 : 2;
}

// Output features lie in strips of 16, so that one vector holds one input's weights of a strip:
//   f32, f16: [inputs][16]
//   bf16:     [inputs / 2][16][2], two neighbouring inputs in one 32-bit lane, as the dot product
//             instructions of AVX-512 BF16 and AMX want them; other levels take the lane apart by a
//             shift.
// Features missing in the last strip are zeros.
inline constexpr size_t kStripFeatures = 16;
// The most strips of one call, and the unit in which work is handed to threads.
inline constexpr size_t kTileStrips = 4;
inline constexpr size_t kTileFeatures = kTileStrips * kStripFeatures;

inline constexpr size_t strip_bytes(WeightFormat format, size_t inputs) {
  return inputs * kStripFeatures * weight_bytes(format);
}

// y[r][f] = sum over k of x[r][k] * w[f][k] + bias[f], for the features of a tile and some rows.
struct LinearTile {
  WeightFormat format = WeightFormat::f32;
  const std::byte* weights = nullptr;  // packed strips, 64-byte aligned
  size_t inputs = 0;                   // even
  size_t features = 0;                 // 1..kTileFeatures
  const float* x = nullptr;            // [rows][inputs]; unused by linear_bf16
  const BFloat16* x_bf16 = nullptr;    // [rows][inputs]; used by linear_bf16 only
  size_t x_stride = 0;                 // elements from one row of x to the next
  size_t rows = 0;
  const float* bias = nullptr;  // [features], or null
  float* y = nullptr;           // [rows][features]
  size_t y_stride = 0;
};

// The functions of one level. All pointers are set except the two that need a BF16 unit.
struct DenseKernels {
  std::string_view level;

  // F32 activations, weights of any format converted in registers.
  void (*linear)(const LinearTile& tile) = nullptr;
  // BF16 activations and BF16 products, accumulated in F32; weights of other formats are rounded to
  // BF16 into `scratch` [kTileFeatures * inputs], 64-byte aligned, unused for bf16. Null where the
  // machine has no BF16 dot product.
  void (*linear_bf16)(const LinearTile& tile, BFloat16* scratch) = nullptr;
  // Rounds to nearest even. Null where linear_bf16 is.
  void (*to_bfloat16_row)(const float* x, size_t n, BFloat16* out) = nullptr;

  // Rounds to nearest even.
  void (*to_half_row)(const float* x, size_t n, Half* out) = nullptr;
  // y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]; y may be x.
  void (*rms_norm)(const float* x, const float* weight, size_t n, float eps, float* y) = nullptr;
  // out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]; out may be gate or up.
  void (*silu_multiply)(const float* gate, const float* up, size_t n, float* out) = nullptr;
  // sum[i] += x[i]
  void (*add)(const float* x, size_t n, float* sum) = nullptr;
};

// Levels that this machine can run, best first; the last one is always "scalar".
std::span<const DenseKernels* const> dense_levels();
// The level of that name, or null when this machine or build has none.
const DenseKernels* find_dense_level(std::string_view level);

// Packs 16 features, given as rows of floats [features][inputs] with features <= 16, into one
// strip. `scratch` holds kStripFeatures * inputs floats.
void pack_strip(const DenseKernels& kernels, WeightFormat format, const float* rows,
                size_t features, size_t inputs, float* scratch, std::byte* strip);
// Reads the feature's weights back: out[inputs]. `strip` is the strip that holds it.
void unpack_feature(WeightFormat format, const std::byte* strip, size_t feature_in_strip,
                    size_t inputs, float* out);

}  // namespace skvis
