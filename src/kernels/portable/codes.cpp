// SPDX-License-Identifier: Apache-2.0
// Products with 8-bit and 4-bit codes. A 32-bit lane of code words holds four k of one lane. With
// wide rows its even bytes as 16-bit integers meet one pair of the prepared row, its odd bytes the
// other; with rows of bytes, whose products are small, pairs of bytes are multiplied at once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/portable/codes.cpp"
#include "kernels/portable/targets.hpp"

#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <cstring>

#include "kernels/portable/common-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skvis::kernels::HWY_NAMESPACE {
namespace {

// sum + a[2i] b[2i] + a[2i+1] b[2i+1] in every 32-bit lane i.
template <class D32, class V16>
HWY_INLINE hn::Vec<D32> add_pair_products(D32 d32, V16 a, V16 b, hn::Vec<D32> sum) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  auto untouched = hn::Zero(d32);
  return hn::ReorderWidenMulAccumulate(d32, a, b, sum, untouched);
#else
  auto upper = hn::Zero(d32);
  const auto lower = hn::ReorderWidenMulAccumulate(d32, a, b, hn::Zero(d32), upper);
  return hn::Add(sum, hn::RearrangeToOddPlusEven(lower, upper));
#endif
}

// The two pairs of four prepared values, each in every 32-bit lane.
template <class D32>
HWY_INLINE hn::Vec<D32> set_pair(D32 d32, const char* x) {
  int32_t pair;
  std::memcpy(&pair, x, sizeof pair);
  return hn::Set(d32, pair);
}

// a[2i] b[2i] + a[2i+1] b[2i+1] of unsigned bytes a and signed bytes b in every 16-bit lane i; the
// operands are such that it fits. Highway 1.0.3 has no name for it.
template <class D16, class V8>
HWY_INLINE hn::Vec<D16> byte_pair_products([[maybe_unused]] D16 d16, V8 a, V8 b) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4
  if constexpr (hn::MaxLanes(D16()) == 8) {
    return hn::Vec<D16>{_mm_maddubs_epi16(a.raw, b.raw)};
#if HWY_TARGET != HWY_SSE4
  } else if constexpr (hn::MaxLanes(D16()) == 16) {
    return hn::Vec<D16>{_mm256_maddubs_epi16(a.raw, b.raw)};
#endif
#if HWY_TARGET == HWY_AVX3
  } else {
    return hn::Vec<D16>{_mm512_maddubs_epi16(a.raw, b.raw)};
#endif
  }
#else
  const hn::RebindToUnsigned<D16> du16;
  const auto even_a = hn::BitCast(d16, hn::And(hn::BitCast(du16, a), hn::Set(du16, 0x00ff)));
  const auto odd_a = hn::BitCast(d16, hn::ShiftRight<8>(hn::BitCast(du16, a)));
  const auto even_b = hn::ShiftRight<8>(hn::ShiftLeft<8>(hn::BitCast(d16, b)));
  const auto odd_b = hn::ShiftRight<8>(hn::BitCast(d16, b));
  return hn::Add(hn::Mul(even_a, even_b), hn::Mul(odd_a, odd_b));
#endif
}

struct Tile {
  const uint8_t* codes;
  size_t first_lane;
  const uint8_t* prefetch;
};

// out = x.scale * sum * scale[lane] + x.constant * minimum[lane]
struct StoreLogits {
  template <class D>
  static HWY_INLINE void store(D d, const CodeProduct& p, size_t row, size_t lane, hn::Vec<D> sum) {
    const auto scaled = hn::Mul(hn::Set(d, p.x.scale[row]), sum);
    const auto constant = hn::Mul(hn::Set(d, p.x.constant[row]), load_floats(d, p.minimum + lane));
    hn::StoreU(hn::MulAdd(scaled, load_floats(d, p.scale + lane), constant), d,
               p.out + row * p.out_stride + lane);
  }
};

// out += x.scale * sum + x.constant
struct AddValues {
  template <class D>
  static HWY_INLINE void store(D d, const CodeProduct& p, size_t row, size_t lane, hn::Vec<D> sum) {
    float* out = p.out + row * p.out_stride + lane;
    const auto value = hn::MulAdd(hn::Set(d, p.x.scale[row]), sum, hn::Set(d, p.x.constant[row]));
    hn::StoreU(hn::Add(hn::LoadU(d, out), value), d, out);
  }
};

template <CodeBits kBits, size_t kWidth, class Finish>
struct WideTile {
  // Pair of k number kPart of a turn: bytes 0 and 2, then 1 and 3; of the low nibbles, then the
  // high.
  template <size_t kPart, class V16>
  static HWY_INLINE V16 part_of(V16 word) {
    const hn::DFromV<V16> d;
    if constexpr (kBits == CodeBits::eight) {
      return kPart == 0 ? hn::And(word, hn::Set(d, uint16_t{0x00ff})) : hn::ShiftRight<8>(word);
    } else if constexpr (kPart == 3) {
      return hn::ShiftRight<12>(word);
    } else {
      constexpr int kShift = kPart == 0 ? 0 : kPart == 1 ? 8 : 4;
      return hn::And(hn::ShiftRight<kShift>(word), hn::Set(d, uint16_t{0x000f}));
    }
  }

  // Adds one word of code bytes to the sums of all rows.
  template <size_t kRows, size_t kParts, class D32, class V16>
  static HWY_INLINE void add_word(D32 d32, V16 word, const char* x, size_t row_bytes,
                                  hn::Vec<D32> (&sums)[kRows]) {
    const hn::Repartition<int16_t, D32> d16;
    hn::Vec<decltype(d16)> part[kParts];
    part[0] = hn::BitCast(d16, part_of<0>(word));
    part[1] = hn::BitCast(d16, part_of<1>(word));
    if constexpr (kParts == 4) {
      part[2] = hn::BitCast(d16, part_of<2>(word));
      part[3] = hn::BitCast(d16, part_of<3>(word));
    }
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t i = 0; i < kParts; ++i) {
        const char* at = x + r * row_bytes + i / 2 * 16 + i % 2 * 4;
        sums[r] = add_pair_products(d32, part[i], hn::BitCast(d16, set_pair(d32, at)), sums[r]);
      }
    }
  }

  template <size_t kRows>
  static HWY_INLINE void run(const CodeProduct& p, size_t row, const Tile& tile) {
    const hn::CappedTag<int32_t, kWidth> d32;
    const hn::Repartition<uint16_t, decltype(d32)> du16;
    const hn::Repartition<uint8_t, decltype(d32)> d8;
    using V = hn::Vec<decltype(d32)>;
    constexpr size_t kLanes = hn::MaxLanes(d32);
    constexpr size_t kVectors = kWidth / kLanes;
    constexpr size_t kTurn = 4 * kWidth;                         // bytes of codes per turn
    constexpr size_t kParts = kBits == CodeBits::eight ? 2 : 4;  // pairs of k per turn
    const size_t row_bytes = prepared_row_bytes(p.depth);
    const char* x = static_cast<const char*>(p.x.data) + row * row_bytes;
    V sums[kVectors][kRows];
    for (size_t v = 0; v < kVectors; ++v) {
      for (size_t r = 0; r < kRows; ++r) sums[v][r] = hn::Zero(d32);
    }
    const uint8_t* codes = tile.codes;
    const uint8_t* prefetch = tile.prefetch;
    for (size_t turn = 0; turn < p.depth / (2 * kParts);
         ++turn, codes += kTurn, prefetch += kTurn, x += 8 * kParts) {
      hwy::Prefetch(prefetch);
      for (size_t v = 0; v < kVectors; ++v) {
        const auto word = hn::BitCast(du16, hn::LoadU(d8, codes + 4 * kLanes * v));
        add_word<kRows, kParts>(d32, word, x, row_bytes, sums[v]);
      }
    }
    const hn::RebindToFloat<decltype(d32)> d;
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t v = 0; v < kVectors; ++v) {
        Finish::store(d, p, row + r, tile.first_lane + v * kLanes, hn::ConvertTo(d, sums[v][r]));
      }
    }
  }
};

// 4-bit codes with a row of bytes. Four products, 4 * 255 * 15, fit 16 bits.
template <size_t kWidth, class Finish>
struct ByteTile {
  template <size_t kRows>
  static HWY_INLINE void run(const CodeProduct& p, size_t row, const Tile& tile) {
    const hn::CappedTag<int32_t, kWidth> d32;
    const hn::Repartition<int16_t, decltype(d32)> d16;
    const hn::Repartition<uint16_t, decltype(d32)> du16;
    const hn::Repartition<uint8_t, decltype(d32)> d8;
    using V = hn::Vec<decltype(d32)>;
    constexpr size_t kLanes = hn::MaxLanes(d32);
    constexpr size_t kVectors = kWidth / kLanes;
    const size_t row_bytes = prepared_row_bytes(p.depth);
    const char* x = static_cast<const char*>(p.x.data) + row * row_bytes;
    const auto nibble = hn::Set(d8, uint8_t{15});
    const auto ones = hn::Set(d16, int16_t{1});
    V sums[kRows][kVectors];
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d32);
    }
    const uint8_t* codes = tile.codes;
    const uint8_t* prefetch = tile.prefetch;
    for (size_t k = 0; k < p.depth; k += 8, codes += 4 * kWidth, prefetch += 4 * kWidth) {
      hwy::Prefetch(prefetch);
      hn::Vec<decltype(d8)> low[kVectors];
      hn::Vec<decltype(d8)> high[kVectors];
      for (size_t v = 0; v < kVectors; ++v) {
        const auto word = hn::LoadU(d8, codes + 4 * kLanes * v);
        low[v] = hn::And(word, nibble);
        high[v] = hn::And(hn::BitCast(d8, hn::ShiftRight<4>(hn::BitCast(du16, word))), nibble);
      }
      for (size_t r = 0; r < kRows; ++r) {
        const char* at = x + r * row_bytes;
        const auto first = hn::BitCast(d8, set_pair(d32, at));
        const auto second = hn::BitCast(d8, set_pair(d32, at + 4));
        for (size_t v = 0; v < kVectors; ++v) {
          const auto products = hn::Add(byte_pair_products(d16, first, low[v]),
                                        byte_pair_products(d16, second, high[v]));
          sums[r][v] = add_pair_products(d32, products, ones, sums[r][v]);
        }
      }
      x += 8;
    }
    const hn::RebindToFloat<decltype(d32)> d;
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t v = 0; v < kVectors; ++v) {
        Finish::store(d, p, row + r, tile.first_lane + v * kLanes, hn::ConvertTo(d, sums[r][v]));
      }
    }
  }
};

template <CodeBits kBits, template <size_t> class OfWidth>
void each_tile(const CodeProduct& p) {
  const auto* next = static_cast<const uint8_t*>(p.prefetch);
  const uint8_t* prefetch = next != nullptr ? next : p.codes;
  for (size_t lane = 0; lane < p.lanes; lane += kTileLanes) {
    const size_t offset = lane * p.depth / (kBits == CodeBits::eight ? 1 : 2);
    const Tile tile = {
        .codes = p.codes + offset, .first_lane = lane, .prefetch = prefetch + offset};
    if (tile_width(p.lanes, lane) == kTileLanes) {
      for_row_groups<OfWidth<16>>(p, tile);
    } else {
      for_row_groups<OfWidth<8>>(p, tile);
    }
  }
}

template <size_t kWidth>
using DotEight = WideTile<CodeBits::eight, kWidth, StoreLogits>;
template <size_t kWidth>
using AccumulateEight = WideTile<CodeBits::eight, kWidth, AddValues>;
template <size_t kWidth>
using DotFour = WideTile<CodeBits::four, kWidth, StoreLogits>;
template <size_t kWidth>
using AccumulateFour = ByteTile<kWidth, AddValues>;

}  // namespace

void fill_codes(Kernels& table) {
  constexpr auto k8 = static_cast<size_t>(CodeBits::eight);
  constexpr auto k4 = static_cast<size_t>(CodeBits::four);
  table.code_dot[k8] = each_tile<CodeBits::eight, DotEight>;
  table.code_dot[k4] = each_tile<CodeBits::four, DotFour>;
  table.code_accumulate[k8] = each_tile<CodeBits::eight, AccumulateEight>;
  table.code_accumulate[k4] = each_tile<CodeBits::four, AccumulateFour>;
}

}  // namespace skvis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
