// SPDX-License-Identifier: Apache-2.0
// Products with 8-bit and 4-bit codes. A 32-bit lane of code words holds four k of one lane: its
// even bytes as 16-bit integers meet one pair of the prepared row, its odd bytes the other.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/portable/codes.cpp"
#include "kernels/portable/targets.hpp"

#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <cstring>

#include "base/prefetch.hpp"
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

// Keeps a sum in its register. GCC adds integers in an order of its own otherwise, whose many
// temporaries push sums out to memory where there are 16 registers.
template <class V>
HWY_INLINE void pin([[maybe_unused]] V& sum) {
#if HWY_TARGET == HWY_AVX2
  __asm__("" : "+x"(sum.raw));
#endif
}

// The two pairs of four prepared values, each in every 32-bit lane.
template <class D32>
HWY_INLINE hn::Vec<D32> set_pair(D32 d32, const char* x) {
  int32_t pair;
  std::memcpy(&pair, x, sizeof pair);
  return hn::Set(d32, pair);
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
struct CodeTile {
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

  // Adds pair number kPart of the words of all vectors to the sums of all rows. A pair of a
  // prepared row is spread once for all vectors.
  template <size_t kPart, size_t kRows, size_t kVectors, class D32, class V16>
  static HWY_INLINE void add_part(D32 d32, const V16 (&words)[kVectors], const char* x,
                                  size_t row_bytes, hn::Vec<D32> (&sums)[kVectors][kRows]) {
    const hn::Repartition<int16_t, D32> d16;
    hn::Vec<decltype(d16)> part[kVectors];
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) part[v] = hn::BitCast(d16, part_of<kPart>(words[v]));
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
      const char* at = x + r * row_bytes + kPart / 2 * 16 + kPart % 2 * 4;
      const auto pair = hn::BitCast(d16, set_pair(d32, at));
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        sums[v][r] = add_pair_products(d32, part[v], pair, sums[v][r]);
        pin(sums[v][r]);
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
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) sums[v][r] = hn::Zero(d32);
    }
    const uint8_t* codes = tile.codes;
    const uint8_t* prefetch = tile.prefetch;
    for (size_t turn = 0; turn < p.depth / (2 * kParts);
         ++turn, codes += kTurn, prefetch += kTurn, x += 8 * kParts) {
      prefetch_line(prefetch);
      hn::Vec<decltype(du16)> words[kVectors];
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        words[v] = hn::BitCast(du16, hn::LoadU(d8, codes + 4 * kLanes * v));
      }
      add_part<0>(d32, words, x, row_bytes, sums);
      add_part<1>(d32, words, x, row_bytes, sums);
      if constexpr (kParts == 4) {
        add_part<2>(d32, words, x, row_bytes, sums);
        add_part<3>(d32, words, x, row_bytes, sums);
      }
    }
    const hn::RebindToFloat<decltype(d32)> d;
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        Finish::store(d, p, row + r, tile.first_lane + v * kLanes, hn::ConvertTo(d, sums[v][r]));
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
using DotEight = CodeTile<CodeBits::eight, kWidth, StoreLogits>;
template <size_t kWidth>
using AccumulateEight = CodeTile<CodeBits::eight, kWidth, AddValues>;
template <size_t kWidth>
using DotFour = CodeTile<CodeBits::four, kWidth, StoreLogits>;
template <size_t kWidth>
using AccumulateFour = CodeTile<CodeBits::four, kWidth, AddValues>;

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
