// SPDX-License-Identifier: Apache-2.0
// Preparing the rows x of a code product, as reference::quantise_*_integer does.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/portable/quantise.cpp"
#include "kernels/portable/targets.hpp"

#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/exp_constants.hpp"
#include "kernels/portable/common-inl.hpp"
#include "kernels/reference/prepared.hpp"

HWY_BEFORE_NAMESPACE();
namespace skvis::kernels::HWY_NAMESPACE {
namespace {

HWY_INLINE uint8_t* row_data(const PreparedRows& out, size_t row, size_t depth) {
  return static_cast<uint8_t*>(out.data) + row * prepared_row_bytes(depth);
}

HWY_INLINE bool usable(float largest) {
  return largest >= kSmallestRow && largest <= std::numeric_limits<float>::max();
}

// round(x * factor) + kRoundingShiftBits: the low 16 bits are the integer.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> rounded_bits(D d, const float* x, hn::Vec<D> factor) {
  const hn::RebindToUnsigned<D> d32;
  return hn::BitCast(d32, hn::MulAdd(hn::LoadU(d, x), factor, hn::Set(d, kRoundingShift)));
}

// The sum of `depth` integers, a multiple of the lanes, from the sums of their rounded_bits, which
// may have wrapped around. Each lane is set right first: GCC adds up lanes as signed numbers.
template <class D32>
HWY_INLINE int32_t sum_of_bits(D32 d32, hn::Vec<D32> sum, size_t depth) {
  const auto terms = static_cast<uint32_t>(depth / hn::MaxLanes(d32));
  const auto right = hn::Sub(sum, hn::Set(d32, terms * uint32_t{kRoundingShiftBits}));
  return static_cast<int32_t>(hn::GetLane(hn::SumOfLanes(d32, right)));
}

// Writes the values with these rounded_bits. A 128-bit block of four integers becomes
// the 16 bytes of PreparedRows by one byte shuffle; the high byte of n = 256 h + l is the second
// byte of n + 128.
template <class D32>
HWY_INLINE void store_integers(D32 d32, hn::Vec<D32> bits, uint8_t* bytes) {
  const hn::Repartition<uint16_t, D32> d16;
  const hn::Repartition<uint8_t, D32> d8;
  alignas(16) static constexpr uint8_t kOrder[16] = {0, 1, 8,  9,  4, 5, 12, 13,
                                                     2, 6, 10, 14, 0, 4, 8,  12};
  const auto high = hn::ShiftLeft<8>(hn::Add(bits, hn::Set(d32, 128u)));
  const auto packed = hn::OddEven(hn::BitCast(d16, high), hn::BitCast(d16, bits));
  hn::StoreU(hn::TableLookupBytes(hn::BitCast(d8, packed), hn::LoadDup128(d8, kOrder)), d8, bytes);
}

// Writes values of magnitude at most `largest` and returns the sum of its integers.
template <class D>
HWY_INLINE int32_t integer_row(D d, const float* x, size_t depth, float largest, uint8_t* bytes) {
  const hn::RebindToUnsigned<D> d32;
  if (!usable(largest)) {
    std::memset(bytes, 0, prepared_row_bytes(depth));
    return 0;
  }
  const auto inverse = hn::Set(d, kWideMax / largest);
  auto sum = hn::Zero(d32);
  for (size_t k = 0; k < depth; k += hn::MaxLanes(D())) {
    const auto bits = rounded_bits(d, x + k, inverse);
    sum = hn::Add(sum, bits);
    store_integers(d32, bits, bytes + 4 * k);
  }
  return sum_of_bits(d32, sum, depth);
}

// The largest magnitude; not a number where a value is not finite.
HWY_INLINE float largest_of(const float* x, size_t depth) {
  const hn::CappedTag<float, 8> d;
  const auto zero = hn::Zero(d);
  auto largest = zero;
  auto poison = zero;
  for (size_t k = 0; k < depth; k += hn::MaxLanes(d)) {
    const auto magnitude = hn::Abs(hn::LoadU(d, x + k));
    largest = hn::Max(magnitude, largest);
    poison = hn::MulAdd(magnitude, zero, poison);
  }
  const float found = hn::GetLane(hn::MaxOfLanes(d, largest));
  const bool finite = hn::GetLane(hn::SumOfLanes(d, poison)) == 0.0f;
  return finite ? found : std::numeric_limits<float>::quiet_NaN();
}

HWY_INLINE float scale_of(float largest, float steps) {
  return std::isnan(largest) ? largest : usable(largest) ? largest / steps : 0.0f;
}

void quantise_query(const QuantiseQuery& p) {
  const hn::CappedTag<float, 8> d;
  for (size_t row = 0; row < p.rows; ++row) {
    const float* x = p.x + row * p.x_stride;
    const float largest = largest_of(x, p.depth);
    const int32_t sum = integer_row(d, x, p.depth, largest, row_data(p.out, row, p.depth));
    p.out.scale[row] = scale_of(largest, kWideMax);
    p.out.constant[row] = p.out.scale[row] * static_cast<float>(sum);
  }
}

// Centres of a page's codes and what they stand for, common to all rows. See QuantiseWeights.
struct Centres {
  HWY_ALIGN float centre[kMaxCodeDepth];
  HWY_ALIGN float level[kMaxCodeDepth];
  HWY_ALIGN float scale[kMaxCodeDepth];
};

template <class D>
HWY_INLINE void find_centres(D d, const QuantiseWeights& p, Centres& out) {
  const auto top = hn::Set(d, top_code(p.bits));
  const auto middle = hn::Set(d, (top_code(p.bits) + 1) / 2);
  const auto none = hn::Zero(d);
  for (size_t t = 0; t < p.depth; t += hn::MaxLanes(D())) {
    const auto scale = load_floats(d, p.scale + t);
    const auto minimum = load_floats(d, p.minimum + t);
    const auto zero = hn::Div(hn::Neg(minimum), scale);
    const auto inside = hn::And(hn::Ge(zero, none), hn::Le(zero, top));
    const auto centre = hn::IfThenElse(inside, zero, middle);
    hn::StoreU(centre, d, out.centre + t);
    hn::StoreU(hn::MulAdd(centre, scale, minimum), d, out.level + t);
    hn::StoreU(scale, d, out.scale + t);
  }
}

// What the first pass over a row of weights finds.
struct ScaledRow {
  HWY_ALIGN float products[kMaxCodeDepth];  // weight * scale
  float largest;
  float levels;  // sum of weight * level
};

template <class D>
HWY_INLINE void scale_weights(D d, const float* weights, size_t depth, const Centres& page,
                              ScaledRow& out) {
  constexpr size_t kLanes = hn::MaxLanes(D());
  constexpr size_t kVectors = 16 / kLanes;
  auto largest = hn::Zero(d);
  hn::Vec<D> levels[kVectors];
  for (size_t v = 0; v < kVectors; ++v) levels[v] = hn::Zero(d);
  for (size_t t = 0; t < depth; t += 16) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = t + v * kLanes;
      const auto weight = hn::LoadU(d, weights + at);
      const auto product = hn::Mul(weight, hn::LoadU(d, page.scale + at));
      levels[v] = hn::MulAdd(weight, hn::LoadU(d, page.level + at), levels[v]);
      largest = hn::Max(product, largest);
      hn::StoreU(product, d, out.products + at);
    }
  }
  out.largest = hn::GetLane(hn::MaxOfLanes(d, largest));
  out.levels = sum_of_lanes(d, levels);
}

// Writes the row and returns the sum of integer * centre.
template <class D>
HWY_INLINE float round_weights(D d, const ScaledRow& row, size_t depth, const Centres& page,
                               uint8_t* out) {
  constexpr size_t kLanes = hn::MaxLanes(D());
  constexpr size_t kVectors = 16 / kLanes;
  const hn::RebindToUnsigned<D> d32;
  const auto inverse = hn::Set(d, usable(row.largest) ? kWideMax / row.largest : 0.0f);
  const auto shift = hn::Set(d, kRoundingShift);
  hn::Vec<D> centres[kVectors];
  for (size_t v = 0; v < kVectors; ++v) centres[v] = hn::Zero(d);
  for (size_t t = 0; t < depth; t += 16) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = t + v * kLanes;
      const auto bits = rounded_bits(d, row.products + at, inverse);
      const auto n = hn::Sub(hn::BitCast(d, bits), shift);
      centres[v] = hn::MulAdd(n, hn::LoadU(d, page.centre + at), centres[v]);
      store_integers(d32, bits, out + 4 * at);
    }
  }
  return sum_of_lanes(d, centres);
}

// All rows of one pass before the next: a row's own passes wait for its reductions. A weight that
// is not a number makes the constant, and with it the output, not a number.
void quantise_weights(const QuantiseWeights& p) {
  const hn::CappedTag<float, 16> d;
  const hn::CappedTag<float, 1> d1;
  Centres page;
  ScaledRow rows[kMaxRows];
  find_centres(d, p, page);
  for (size_t row = 0; row < p.rows; ++row) {
    scale_weights(d, p.p + row * p.p_stride, p.depth, page, rows[row]);
  }
  for (size_t row = 0; row < p.rows; ++row) {
    const float centres = round_weights(d, rows[row], p.depth, page, row_data(p.out, row, p.depth));
    const float scale = scale_of(rows[row].largest, kWideMax);
    p.out.scale[row] = scale;
    p.out.constant[row] = hn::GetLane(
        hn::MulAdd(hn::Set(d1, -scale), hn::Set(d1, centres), hn::Set(d1, rows[row].levels)));
  }
}

}  // namespace

void fill_quantise(Kernels& table) {
  table.quantise_query = quantise_query;
  table.quantise_weights = quantise_weights;
}

}  // namespace skvis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
