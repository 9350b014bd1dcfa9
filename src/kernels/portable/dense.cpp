// SPDX-License-Identifier: Apache-2.0
// Register blocking: a block of rows times a few strips lives in accumulators while the inputs run.
// Weights are loaded (and converted) once per block of rows, an activation is a broadcast.
#include "kernels/portable/dense.hpp"

#include <algorithm>

// AVX3_DL: see targets.hpp.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/portable/dense.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/portable/dense_rows-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skvis {
namespace HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR  // there the reference serves

using LinearVector = hn::Vec<FloatTag>;
// Vectors per strip, and accumulators that leave room for weights and a broadcast: 32 registers
// with AVX-512 and NEON, 16 with AVX2.
constexpr size_t kVectors = kStripFeatures / kFloatLanes;
constexpr size_t kAccumulators = HWY_TARGET == HWY_AVX2 ? 12 : 24;
constexpr size_t kMaxRows = std::min<size_t>(12, kAccumulators / kVectors);

// Strips side by side in a block of so many rows: 4, 2 or 1.
constexpr size_t strips_at_once(size_t rows) {
  const size_t fit = kAccumulators / (rows * kVectors);
  return fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
}

// The weights of two neighbouring inputs for the v-th vector of a strip.
template <WeightFormat kFormat>
HWY_INLINE void load_pair(const std::byte* strip, size_t k, size_t v, LinearVector& even,
                          LinearVector& odd) {
  const FloatTag d;
  if constexpr (kFormat == WeightFormat::bf16) {
    const hn::RebindToUnsigned<FloatTag> du;
    const auto* pairs = reinterpret_cast<const uint32_t*>(strip) + k / 2 * kStripFeatures;
    const auto both = hn::Load(du, pairs + v * kFloatLanes);
    even = hn::BitCast(d, hn::ShiftLeft<16>(both));
    odd = hn::BitCast(d, hn::And(both, hn::Set(du, 0xffff0000u)));
  } else if constexpr (kFormat == WeightFormat::f16) {
    const hn::Rebind<hwy::float16_t, FloatTag> dh;
    const auto* row = reinterpret_cast<const hwy::float16_t*>(strip) + k * kStripFeatures;
    even = hn::PromoteTo(d, hn::Load(dh, row + v * kFloatLanes));
    odd = hn::PromoteTo(d, hn::Load(dh, row + kStripFeatures + v * kFloatLanes));
  } else {
    const auto* row = reinterpret_cast<const float*>(strip) + k * kStripFeatures;
    even = hn::Load(d, row + v * kFloatLanes);
    odd = hn::Load(d, row + kStripFeatures + v * kFloatLanes);
  }
}

// Writes one vector of results; the last strip may have fewer than 16 live features.
HWY_INLINE void store_outputs(const LinearTile& tile, size_t row, size_t feature,
                              LinearVector sum) {
  const FloatTag d;
  if (feature >= tile.features) return;
  float* y = tile.y + row * tile.y_stride + feature;
  const size_t live = tile.features - feature;
  if (live >= kFloatLanes) {
    if (tile.bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, tile.bias + feature));
    hn::StoreU(sum, d, y);
    return;
  }
  HWY_ALIGN float lanes[kFloatLanes];
  hn::Store(sum, d, lanes);
  for (size_t i = 0; i < live; ++i) {
    y[i] = tile.bias != nullptr ? lanes[i] + tile.bias[feature + i] : lanes[i];
  }
}

template <WeightFormat kFormat, size_t kRows, size_t kStrips>
HWY_NOINLINE void linear_block(const LinearTile& tile, size_t first_row, size_t first_strip) {
  const FloatTag d;
  constexpr size_t kColumns = kStrips * kVectors;
  const size_t bytes = strip_bytes(kFormat, tile.inputs);
  const std::byte* strips = tile.weights + first_strip * bytes;
  const float* x = tile.x + first_row * tile.x_stride;
  LinearVector sums[kRows][kColumns];
#pragma GCC unroll 16
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (size_t c = 0; c < kColumns; ++c) sums[r][c] = hn::Zero(d);
  }
  for (size_t k = 0; k < tile.inputs; k += 2) {
    LinearVector even[kColumns];
    LinearVector odd[kColumns];
#pragma GCC unroll 16
    for (size_t c = 0; c < kColumns; ++c) {
      load_pair<kFormat>(strips + c / kVectors * bytes, k, c % kVectors, even[c], odd[c]);
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
      const auto first = hn::Set(d, x[r * tile.x_stride + k]);
#pragma GCC unroll 16
      for (size_t c = 0; c < kColumns; ++c) sums[r][c] = hn::MulAdd(first, even[c], sums[r][c]);
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
      const auto second = hn::Set(d, x[r * tile.x_stride + k + 1]);
#pragma GCC unroll 16
      for (size_t c = 0; c < kColumns; ++c) sums[r][c] = hn::MulAdd(second, odd[c], sums[r][c]);
    }
  }
#pragma GCC unroll 16
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (size_t c = 0; c < kColumns; ++c) {
      store_outputs(tile, first_row + r, first_strip * kStripFeatures + c * kFloatLanes,
                    sums[r][c]);
    }
  }
}

template <WeightFormat kFormat, size_t kRows>
void linear_rows(const LinearTile& tile, size_t first_row) {
  constexpr size_t kStrips = strips_at_once(kRows);
  const size_t strips = (tile.features + kStripFeatures - 1) / kStripFeatures;
  size_t strip = 0;
  for (; strip + kStrips <= strips; strip += kStrips) {
    linear_block<kFormat, kRows, kStrips>(tile, first_row, strip);
  }
  for (; strip < strips; ++strip) linear_block<kFormat, kRows, 1>(tile, first_row, strip);
}

template <WeightFormat kFormat, size_t kRows>
void dispatch_rows(const LinearTile& tile, size_t first_row, size_t rows) {
  if (rows == kRows) {
    linear_rows<kFormat, kRows>(tile, first_row);
  } else if constexpr (kRows > 1) {
    dispatch_rows<kFormat, kRows - 1>(tile, first_row, rows);
  }
}

template <WeightFormat kFormat>
void linear_format(const LinearTile& tile) {
  // Blocks of nearly equal height: 13 rows as 7 + 6, not as 12 + 1.
  const size_t blocks = (tile.rows + kMaxRows - 1) / kMaxRows;
  for (size_t block = 0; block < blocks; ++block) {
    const size_t begin = tile.rows * block / blocks;
    const size_t end = tile.rows * (block + 1) / blocks;
    dispatch_rows<kFormat, kMaxRows>(tile, begin, end - begin);
  }
}

void linear(const LinearTile& tile) {
  switch (tile.format) {
    case WeightFormat::f32:
      return linear_format<WeightFormat::f32>(tile);
    case WeightFormat::f16:
      return linear_format<WeightFormat::f16>(tile);
    case WeightFormat::bf16:
      return linear_format<WeightFormat::bf16>(tile);
  }
}

const DenseKernels* kernels() {
  static constexpr DenseKernels kKernels{.level = HWY_TARGET == HWY_AVX3   ? "avx512"
                                                  : HWY_TARGET == HWY_AVX2 ? "avx2"
                                                                           : "neon",
                                         .linear = linear,
                                         .to_half_row = to_half_row,
                                         .rms_norm = rms_norm,
                                         .silu_multiply = silu_multiply,
                                         .add = add};
  return &kKernels;
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace skvis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skvis {

const DenseKernels* dense_avx512() {
#if HWY_TARGETS & HWY_AVX3
  if (hwy::SupportedTargets() & HWY_AVX3) return N_AVX3::kernels();
#endif
  return nullptr;
}

const DenseKernels* dense_avx2() {
#if HWY_TARGETS & HWY_AVX2
  if (hwy::SupportedTargets() & HWY_AVX2) return N_AVX2::kernels();
#endif
  return nullptr;
}

const DenseKernels* dense_neon() {
#if HWY_TARGETS & HWY_NEON
  return N_NEON::kernels();
#else
  return nullptr;
#endif
}

}  // namespace skvis
#endif  // HWY_ONCE
