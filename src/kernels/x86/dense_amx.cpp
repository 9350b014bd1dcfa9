// SPDX-License-Identifier: Apache-2.0
// TDPBF16PS adds the products of a tile of up to 16 rows x 32 activations and one of 32 x 16
// weights to a tile of F32 sums. A packed strip is a column of such weight tiles as it lies: 16
// pairs of inputs by 16 features are 1 KiB without a gap.
//
// Each row of a tile is summed by itself and in ascending order of the inputs, whatever the height
// of the tile, so a row's bits do not depend on its neighbours. (Intel, "Intel Architecture
// Instruction Set Extensions Programming Reference", 2021, chapter 3.)
#include "kernels/x86/dense_amx.hpp"

#include "kernels/x86/dense_bf16.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(                                                        \
    __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl")
#endif

namespace skvis {
namespace {

constexpr size_t kTileRows = 16;
constexpr size_t kTileInputs = 32;
constexpr size_t kRowBytes = 64;  // of every tile: 32 BF16 or 16 F32
constexpr size_t kWeightTileBytes = kTileInputs * kStripFeatures * sizeof(BFloat16);
// Weights are asked for so many bytes of a strip ahead; memory binds where rows are few.
constexpr size_t kPrefetchBytes = 4 * kWeightTileBytes;

// The operand of LDTILECFG.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Sums in the tiles 0 to 3, activations in 4 and 5, weights in 6 and 7. One tile of rows meets four
// strips; two tiles of rows meet two.
void configure(size_t first_rows, size_t second_rows) {
  TileConfig config;
  std::fill_n(config.row_bytes, 8, static_cast<uint16_t>(kRowBytes));
  const auto first = static_cast<uint8_t>(first_rows);
  const auto second = static_cast<uint8_t>(second_rows > 0 ? second_rows : first_rows);
  const uint8_t rows[8] = {first, first, second, second, first, second, kTileRows, kTileRows};
  std::copy_n(rows, 8, config.rows);
  _tile_loadconfig(&config);
}

// What the inputs of one call are, and the last of them padded with zeros to a whole tile.
struct Operands {
  const BFloat16* x;       // [rows][stride]
  size_t stride;           // elements
  const std::byte* strip;  // the first of the block's strips
  size_t strip_bytes;
};

template <size_t kStrips>
inline void prefetch(const Operands& o, size_t k) {
  for (size_t s = 0; s < kStrips; ++s) {
    const std::byte* ahead = o.strip + s * o.strip_bytes + k * kRowBytes / 2 + kPrefetchBytes;
    for (size_t line = 0; line < kWeightTileBytes; line += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead + line), _MM_HINT_T0);
    }
  }
}

// 32 inputs of up to 16 rows and 4 strips.
template <size_t kStrips>
inline void step_low(const Operands& o) {
  _tile_loadd(4, o.x, o.stride * sizeof(BFloat16));
  _tile_loadd(6, o.strip, kRowBytes);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kStrips > 1) {
    _tile_loadd(7, o.strip + o.strip_bytes, kRowBytes);
    _tile_dpbf16ps(1, 4, 7);
  }
  if constexpr (kStrips > 2) {
    _tile_loadd(6, o.strip + 2 * o.strip_bytes, kRowBytes);
    _tile_dpbf16ps(2, 4, 6);
  }
  if constexpr (kStrips > 3) {
    _tile_loadd(7, o.strip + 3 * o.strip_bytes, kRowBytes);
    _tile_dpbf16ps(3, 4, 7);
  }
}

// 32 inputs of 17 to 32 rows and 2 strips.
template <size_t kStrips>
inline void step_high(const Operands& o) {
  _tile_loadd(6, o.strip, kRowBytes);
  _tile_loadd(4, o.x, o.stride * sizeof(BFloat16));
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(5, o.x + kTileRows * o.stride, o.stride * sizeof(BFloat16));
  _tile_dpbf16ps(2, 5, 6);
  if constexpr (kStrips > 1) {
    _tile_loadd(7, o.strip + o.strip_bytes, kRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// The inputs that are left when whole tiles are done, followed by zeros.
struct Remainder {
  alignas(64) BFloat16 x[2 * kTileRows * kTileInputs] = {};
  alignas(64) std::byte strips[kTileStrips * kWeightTileBytes] = {};

  Operands take(const Operands& o, size_t rows, size_t count, size_t inputs) {
    for (size_t r = 0; r < rows; ++r) {
      std::memcpy(x + r * kTileInputs, o.x + r * o.stride, inputs * sizeof(BFloat16));
    }
    for (size_t s = 0; s < count; ++s) {
      std::memcpy(strips + s * kWeightTileBytes, o.strip + s * o.strip_bytes,
                  inputs * kRowBytes / 2);
    }
    return {x, kTileInputs, strips, kWeightTileBytes};
  }
};

void add_bias_and_store(const LinearTile& tile, const float* sums, size_t first_row, size_t rows,
                        size_t feature) {
  const size_t live = std::min(kStripFeatures, tile.features - feature);
  const auto mask = static_cast<__mmask16>((1u << live) - 1);
  const __m512 bias =
      tile.bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, tile.bias + feature);
  for (size_t r = 0; r < rows; ++r) {
    const __m512 sum = _mm512_add_ps(_mm512_load_ps(sums + r * kStripFeatures), bias);
    _mm512_mask_storeu_ps(tile.y + (first_row + r) * tile.y_stride + feature, mask, sum);
  }
}

// Rows [first_row, first_row + rows) of kStrips strips from first_strip on; kHigh: more than 16.
template <size_t kStrips, bool kHigh>
__attribute__((noinline)) void block(const LinearTile& tile, const std::byte* weights,
                                     size_t first_row, size_t rows, size_t first_strip) {
  const size_t bytes = strip_bytes(WeightFormat::bf16, tile.inputs);
  Operands operands{tile.x_bf16 + first_row * tile.x_stride, tile.x_stride,
                    weights + first_strip * bytes, bytes};
  const auto step = [](const Operands& o) {
    if constexpr (kHigh) {
      step_high<kStrips>(o);
    } else {
      step_low<kStrips>(o);
    }
  };
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const size_t whole = tile.inputs / kTileInputs * kTileInputs;
  for (size_t k = 0; k < whole; k += kTileInputs) {
    if constexpr (!kHigh) prefetch<kStrips>(operands, 0);
    step(operands);
    operands.x += kTileInputs;
    operands.strip += kWeightTileBytes;
  }
  if (whole < tile.inputs) {
    Remainder remainder;
    step(remainder.take(operands, rows, kStrips, tile.inputs - whole));
  }
  alignas(64) float sums[4][kTileRows * kStripFeatures];
  _tile_stored(0, sums[0], kRowBytes);
  _tile_stored(1, sums[1], kRowBytes);
  _tile_stored(2, sums[2], kRowBytes);
  _tile_stored(3, sums[3], kRowBytes);
  const size_t low = std::min(rows, kTileRows);
  for (size_t s = 0; s < kStrips; ++s) {
    const size_t feature = (first_strip + s) * kStripFeatures;
    add_bias_and_store(tile, sums[s], first_row, low, feature);
    if constexpr (kHigh) {
      add_bias_and_store(tile, sums[s + 2], first_row + kTileRows, rows - kTileRows, feature);
    }
  }
}

void low_block(const LinearTile& tile, const std::byte* weights, size_t first_row, size_t rows) {
  switch ((tile.features + kStripFeatures - 1) / kStripFeatures) {
    case 1:
      return block<1, false>(tile, weights, first_row, rows, 0);
    case 2:
      return block<2, false>(tile, weights, first_row, rows, 0);
    case 3:
      return block<3, false>(tile, weights, first_row, rows, 0);
    default:
      return block<4, false>(tile, weights, first_row, rows, 0);
  }
}

void high_block(const LinearTile& tile, const std::byte* weights, size_t first_row, size_t rows) {
  const size_t strips = (tile.features + kStripFeatures - 1) / kStripFeatures;
  size_t strip = 0;
  for (; strip + 2 <= strips; strip += 2) {
    block<2, true>(tile, weights, first_row, rows, strip);
  }
  if (strip < strips) block<1, true>(tile, weights, first_row, rows, strip);
}

void linear_bf16(const LinearTile& tile, BFloat16* scratch) {
  const std::byte* weights = tile.weights;
  if (tile.format != WeightFormat::bf16) {
    round_weights_to_bfloat16(tile, scratch);
    weights = reinterpret_cast<const std::byte*>(scratch);
  }
  constexpr size_t kMaxRows = 2 * kTileRows;
  const size_t blocks = (tile.rows + kMaxRows - 1) / kMaxRows;
  size_t configured = 0;
  for (size_t i = 0; i < blocks; ++i) {
    const size_t first = i * kMaxRows;
    const size_t rows = std::min(kMaxRows, tile.rows - first);
    const size_t low = std::min(rows, kTileRows);
    if (rows != configured) configure(low, rows - low);
    configured = rows;
    if (rows > kTileRows) {
      high_block(tile, weights, first, rows);
    } else {
      low_block(tile, weights, first, rows);
    }
  }
  _tile_release();  // tiles in use make every switch of threads save 8 KiB
}

bool processor_has_amx_bf16() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kBf16 = 1u << 22;
  constexpr unsigned kTile = 1u << 24;
  return (d & kBf16) != 0 && (d & kTile) != 0;
}

// Linux hands the tile registers out on request only (Documentation/arch/x86/xstate.rst).
bool kernel_grants_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace
}  // namespace skvis
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace skvis {

const DenseKernels* dense_amx_bf16() {
  static const DenseKernels* const kernels = []() -> const DenseKernels* {
    const DenseKernels* base = dense_avx512_bf16();
    if (base == nullptr || !processor_has_amx_bf16() || !kernel_grants_tiles()) return nullptr;
    static DenseKernels with_tiles = *base;
    with_tiles.level = "amx_bf16";
    with_tiles.linear_bf16 = linear_bf16;
    return &with_tiles;
  }();
  return kernels;
}

}  // namespace skvis

#else  // neither x86 nor Linux

namespace skvis {
const DenseKernels* dense_amx_bf16() {
  return nullptr;
}
}  // namespace skvis

#endif
