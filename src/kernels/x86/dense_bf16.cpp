// SPDX-License-Identifier: Apache-2.0
// VDPBF16PS adds two products of BF16 pairs to each F32 lane; with weights packed as pairs a strip
// is one vector, and an activation pair one 32-bit broadcast. The chain over the inputs is the same
// for every height of a block, so a row's bits do not depend on its neighbours.
#include "kernels/x86/dense_bf16.hpp"

#include "kernels/portable/dense.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

// GCC 12 warns of its own headers' deliberately undefined operands (GCC bug 105593).
#if defined(__clang__)
#pragma clang attribute push(                                                               \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,f16c,fma"))), \
    apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c,fma")
#endif

namespace skvis {
namespace {

constexpr size_t kMaxRows = 12;  // 12 rows x 2 strips: 24 of 32 registers accumulate

constexpr size_t strips_at_once(size_t rows) {
  return rows <= 6 ? 4 : 2;
}

inline __m512bh as_bf16(__m512i bits) {
  return reinterpret_cast<__m512bh>(bits);
}

void store_outputs(const LinearTile& tile, size_t row, size_t feature, __m512 sum) {
  if (feature >= tile.features) return;
  const size_t live = tile.features - feature;
  const __mmask16 mask =
      static_cast<__mmask16>(live >= kStripFeatures ? 0xffffu : (1u << live) - 1);
  if (tile.bias != nullptr) {
    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, tile.bias + feature));
  }
  _mm512_mask_storeu_ps(tile.y + row * tile.y_stride + feature, mask, sum);
}

template <size_t kRows, size_t kStrips>
__attribute__((noinline)) void block(const LinearTile& tile, const std::byte* weights,
                                     size_t first_row, size_t first_strip) {
  const size_t bytes = strip_bytes(WeightFormat::bf16, tile.inputs);
  const std::byte* strips = weights + first_strip * bytes;
  const BFloat16* x = tile.x_bf16 + first_row * tile.x_stride;
  __m512 sums[kRows][kStrips];
#pragma GCC unroll 16
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (size_t s = 0; s < kStrips; ++s) sums[r][s] = _mm512_setzero_ps();
  }
  for (size_t k = 0; k < tile.inputs; k += 2) {
    __m512i pairs[kStrips];
#pragma GCC unroll 16
    for (size_t s = 0; s < kStrips; ++s) {
      pairs[s] = _mm512_load_si512(strips + s * bytes + k * kStripFeatures * sizeof(BFloat16));
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
      int pair = 0;
      std::memcpy(&pair, x + r * tile.x_stride + k, sizeof(pair));
      const __m512i both = _mm512_set1_epi32(pair);
#pragma GCC unroll 16
      for (size_t s = 0; s < kStrips; ++s) {
        sums[r][s] = _mm512_dpbf16_ps(sums[r][s], as_bf16(pairs[s]), as_bf16(both));
      }
    }
  }
#pragma GCC unroll 16
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (size_t s = 0; s < kStrips; ++s) {
      store_outputs(tile, first_row + r, (first_strip + s) * kStripFeatures, sums[r][s]);
    }
  }
}

template <size_t kRows>
void dispatch_rows(const LinearTile& tile, const std::byte* weights, size_t first_row,
                   size_t rows) {
  if (rows == kRows) {
    constexpr size_t kStrips = strips_at_once(kRows);
    const size_t strips = (tile.features + kStripFeatures - 1) / kStripFeatures;
    size_t strip = 0;
    for (; strip + kStrips <= strips; strip += kStrips) {
      block<kRows, kStrips>(tile, weights, first_row, strip);
    }
    for (; strip < strips; ++strip) block<kRows, 1>(tile, weights, first_row, strip);
  } else if constexpr (kRows > 1) {
    dispatch_rows<kRows - 1>(tile, weights, first_row, rows);
  }
}

// Two inputs' weights of a strip as pairs: the even input in the low half of each lane.
inline __m512i join(__m512 even, __m512 odd) {
  const __m512i low = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(even)));
  const __m512i high = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(odd)));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

}  // namespace

void round_weights_to_bfloat16(const LinearTile& tile, BFloat16* out) {
  const size_t strips = (tile.features + kStripFeatures - 1) / kStripFeatures;
  const size_t steps = strips * tile.inputs / 2;  // strips follow one another without a gap
  for (size_t i = 0; i < steps; ++i) {
    __m512 even;
    __m512 odd;
    if (tile.format == WeightFormat::f16) {
      const __m512i both = _mm512_load_si512(tile.weights + i * 64);
      even = _mm512_cvtph_ps(_mm512_castsi512_si256(both));
      odd = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1));
    } else {
      even = _mm512_load_ps(tile.weights + i * 128);
      odd = _mm512_load_ps(tile.weights + i * 128 + 64);
    }
    _mm512_store_si512(out + i * 32, join(even, odd));
  }
}

namespace {

void linear_bf16(const LinearTile& tile, BFloat16* scratch) {
  const std::byte* weights = tile.weights;
  if (tile.format != WeightFormat::bf16) {
    round_weights_to_bfloat16(tile, scratch);
    weights = reinterpret_cast<const std::byte*>(scratch);
  }
  const size_t blocks = (tile.rows + kMaxRows - 1) / kMaxRows;
  for (size_t i = 0; i < blocks; ++i) {
    const size_t begin = tile.rows * i / blocks;
    const size_t end = tile.rows * (i + 1) / blocks;
    dispatch_rows<kMaxRows>(tile, weights, begin, end - begin);
  }
}

void to_bfloat16_row(const float* x, size_t n, BFloat16* out) {
  for (size_t i = 0; i < n; i += 16) {
    const size_t live = n - i;
    const __mmask16 mask = static_cast<__mmask16>(live >= 16 ? 0xffffu : (1u << live) - 1);
    const __m256i rounded =
        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + i)));
    _mm256_mask_storeu_epi16(out + i, mask, rounded);
  }
}

}  // namespace
}  // namespace skvis
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace skvis {

const DenseKernels* dense_avx512_bf16() {
  static const DenseKernels* const kernels = []() -> const DenseKernels* {
    const DenseKernels* base = dense_avx512();
    if (base == nullptr || !__builtin_cpu_supports("avx512bf16")) return nullptr;
    static DenseKernels with_bf16 = *base;
    with_bf16.level = "avx512_bf16";
    with_bf16.linear_bf16 = linear_bf16;
    with_bf16.to_bfloat16_row = to_bfloat16_row;
    return &with_bf16;
  }();
  return kernels;
}

}  // namespace skvis

#else  // no x86

namespace skvis {
const DenseKernels* dense_avx512_bf16() {
  return nullptr;
}
}  // namespace skvis

#endif
