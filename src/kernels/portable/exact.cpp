// SPDX-License-Identifier: Apache-2.0
// Products with exact elements. A lane is one sum over k in order, as in the reference.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/portable/exact.cpp"
#include "kernels/portable/targets.hpp"

#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <cstring>

#include "base/prefetch.hpp"
#include "kernels/portable/common-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skvis::kernels::HWY_NAMESPACE {
namespace {

template <typename T>
struct Tile {
  const T* elements;  // element (k, lane) at k * step + lane
  size_t step;
  size_t first_lane;
  const char* prefetch;  // walked as fast as the tile
};

// Sums of kWidth lanes for kRows rows. Four k per turn so that the prefetches come line by line;
// the depth of an open page's values may be any number.
template <typename T, size_t kWidth>
struct TileProduct {
  template <size_t kRows>
  static HWY_INLINE void run(const ExactProduct& p, size_t row, const Tile<T>& tile) {
    const hn::CappedTag<float, kWidth> d;
    using V = hn::Vec<decltype(d)>;
    constexpr size_t kLanes = hn::MaxLanes(d);
    constexpr size_t kVectors = kWidth / kLanes;
    constexpr size_t kTurn = 4 * kWidth * sizeof(T);
    const float* x = p.x + row * p.x_stride;
    float* out = p.out + row * p.out_stride + tile.first_lane;
    V sums[kRows][kVectors];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        sums[r][v] = p.add ? hn::LoadU(d, out + r * p.out_stride + v * kLanes) : hn::Zero(d);
      }
    }
    const T* elements = tile.elements;
    const char* prefetch = tile.prefetch;
    const auto add = [&](size_t k) HWY_ATTR {
      V column[kVectors];
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) column[v] = load_floats(d, elements + v * kLanes);
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) {
        const V factor = hn::Set(d, x[r * p.x_stride + k]);
#pragma GCC unroll 16
        for (size_t v = 0; v < kVectors; ++v) {
          sums[r][v] = hn::MulAdd(column[v], factor, sums[r][v]);
        }
      }
      elements += tile.step;
    };
    const size_t whole = p.depth / 4 * 4;
    for (size_t k = 0; k < whole; k += 4, prefetch += kTurn) {
      for (size_t line = 0; line < kTurn; line += 64) prefetch_line(prefetch + line);
      for (size_t i = 0; i < 4; ++i) add(k + i);
    }
    for (size_t k = whole; k < p.depth; ++k) add(k);
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        hn::StoreU(sums[r][v], d, out + r * p.out_stride + v * kLanes);
      }
    }
  }
};

template <typename T>
void exact_product(const ExactProduct& p) {
  const T* matrix = static_cast<const T*>(p.matrix);
  const auto* prefetch = static_cast<const char*>(p.prefetch != nullptr ? p.prefetch : p.matrix);
  for (size_t lane = 0; lane < p.lanes; lane += kTileLanes) {
    const size_t width = tile_width(p.lanes, lane);
    const bool sealed = p.row_stride == 0;
    const Tile<T> tile = {.elements = matrix + (sealed ? lane * p.depth : lane),
                          .step = sealed ? width : p.row_stride,
                          .first_lane = lane,
                          .prefetch = prefetch + lane * p.depth * sizeof(T)};
    if (width == kTileLanes) {
      for_row_groups<TileProduct<T, 16>>(p, tile);
    } else {
      for_row_groups<TileProduct<T, 8>>(p, tile);
    }
  }
}

// One token's row against kRows query rows; 16 lane sums each, channels beyond a multiple of 16 in
// the first 8 lanes.
template <typename T>
struct TokenDots {
  template <size_t kRows>
  static HWY_INLINE void run(const RowDots& p, size_t row, const T* token, float* out) {
    const hn::CappedTag<float, 16> d;
    using V = hn::Vec<decltype(d)>;
    constexpr size_t kLanes = hn::MaxLanes(d);
    constexpr size_t kVectors = 16 / kLanes;
    const float* x = p.x + row * p.x_stride;
    V sums[kRows][kVectors];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
    }
    const size_t whole = p.depth / 16 * 16;
    for (size_t k = 0; k < whole; k += 16) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        const V element = load_floats(d, token + k + v * kLanes);
#pragma GCC unroll 16
        for (size_t r = 0; r < kRows; ++r) {
          const V factor = hn::LoadU(d, x + r * p.x_stride + k + v * kLanes);
          sums[r][v] = hn::MulAdd(factor, element, sums[r][v]);
        }
      }
    }
    if (whole < p.depth) {
      T rest[16] = {};
      std::memcpy(rest, token + whole, 8 * sizeof(T));
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) {
        float factors[16] = {};
        std::memcpy(factors, x + r * p.x_stride + whole, 8 * sizeof(float));
#pragma GCC unroll 16
        for (size_t v = 0; v < kVectors; ++v) {
          sums[r][v] = hn::MulAdd(hn::LoadU(d, factors + v * kLanes),
                                  load_floats(d, rest + v * kLanes), sums[r][v]);
        }
      }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
      out[(row + r) * p.out_stride] = sum_of_lanes(d, sums[r]);
    }
  }
};

template <typename T>
void row_dots(const RowDots& p) {
  const T* token = static_cast<const T*>(p.matrix);
  for (size_t t = 0; t < p.tokens; ++t, token += p.row_stride) {
    for_row_groups<TokenDots<T>>(p, token, p.out + t);
  }
}

}  // namespace

void fill_exact(Kernels& table) {
  table.exact_product[static_cast<size_t>(ElementType::f32)] = exact_product<float>;
  table.exact_product[static_cast<size_t>(ElementType::f16)] = exact_product<Half>;
  table.exact_product[static_cast<size_t>(ElementType::bf16)] = exact_product<BFloat16>;
  table.row_dots[static_cast<size_t>(ElementType::f32)] = row_dots<float>;
  table.row_dots[static_cast<size_t>(ElementType::f16)] = row_dots<Half>;
  table.row_dots[static_cast<size_t>(ElementType::bf16)] = row_dots<BFloat16>;
}

}  // namespace skvis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
