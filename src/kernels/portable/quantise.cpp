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

// The sum of `depth` integers from the sum of their rounded_bits, which may have wrapped around.
template <class D32>
HWY_INLINE int32_t sum_of_bits(D32 d32, hn::Vec<D32> sum, size_t depth) {
  const uint32_t total = hn::GetLane(hn::SumOfLanes(d32, sum));
  return static_cast<int32_t>(total - static_cast<uint32_t>(depth) * uint32_t{kRoundingShiftBits});
}

// Writes values of magnitude at most `largest` as a wide row and returns the sum of its integers. A
// 128-bit block of four integers becomes the 16 bytes of PreparedRows by one byte shuffle; the high
// byte of n = 256 h + l is the second byte of n + 128.
template <class D>
HWY_INLINE int32_t wide_row(D d, const float* x, size_t depth, float largest, bool coarse,
                            uint8_t* bytes) {
  const hn::RebindToUnsigned<D> d32;
  const hn::Repartition<uint16_t, D> d16;
  const hn::Repartition<uint8_t, D> d8;
  constexpr size_t kLanes = hn::MaxLanes(D());
  if (!usable(largest)) {
    std::memset(bytes, 0, prepared_row_bytes(depth));
    return 0;
  }
  alignas(16) static constexpr uint8_t kOrder[16] = {0, 1, 8,  9,  4, 5, 12, 13,
                                                     2, 6, 10, 14, 0, 4, 8,  12};
  const auto order = hn::LoadDup128(d8, kOrder);
  const auto inverse = hn::Set(d, (coarse ? kWideMax / 256 : kWideMax) / largest);
  const auto half_byte = hn::Set(d32, 128u);
  auto sum = hn::Zero(d32);
  for (size_t k = 0; k < depth; k += kLanes) {
    auto bits = rounded_bits(d, x + k, inverse);
    sum = hn::Add(sum, bits);
    if (coarse) bits = hn::ShiftLeft<8>(bits);
    const auto high = hn::ShiftLeft<8>(hn::Add(bits, half_byte));
    const auto packed = hn::OddEven(hn::BitCast(d16, high), hn::BitCast(d16, bits));
    hn::StoreU(hn::TableLookupBytes(hn::BitCast(d8, packed), order), d8, bytes + 4 * k);
  }
  return sum_of_bits(d32, sum, depth) * (coarse ? 256 : 1);
}

// Writes values that are not negative as a row of bytes, with their sum behind them.
template <class D>
HWY_INLINE void byte_row(D d, const float* x, size_t depth, float largest, uint8_t* bytes) {
  const hn::RebindToUnsigned<D> d32;
  const hn::Rebind<uint8_t, D> d8;
  constexpr size_t kLanes = hn::MaxLanes(D());
  const auto inverse = hn::Set(d, usable(largest) ? kByteMax / largest : 0.0f);
  const auto low_byte = hn::Set(d32, 255u);
  auto sum = hn::Zero(d32);
  for (size_t k = 0; k < depth; k += kLanes) {
    const auto bits = rounded_bits(d, x + k, inverse);
    sum = hn::Add(sum, bits);
    hn::StoreU(hn::U8FromU32(hn::And(bits, low_byte)), d8, bytes + k);
  }
  const int32_t total = sum_of_bits(d32, sum, depth);
  std::memcpy(bytes + depth, &total, sizeof total);
}

struct Extent {
  float largest;  // not a number where a value is not finite
  bool no_outliers;
};

HWY_INLINE Extent extent_of(const float* x, size_t depth) {
  const hn::CappedTag<float, 8> d;
  constexpr size_t kLanes = hn::MaxLanes(d);
  constexpr size_t kVectors = 8 / kLanes;
  const auto zero = hn::Zero(d);
  auto largest_lanes = zero;
  auto poison = zero;
  hn::Vec<decltype(d)> squares[kVectors];
  for (size_t v = 0; v < kVectors; ++v) squares[v] = zero;
  for (size_t k = 0; k < depth; k += 8) {
    for (size_t v = 0; v < kVectors; ++v) {
      const auto magnitude = hn::Abs(hn::LoadU(d, x + k + v * kLanes));
      largest_lanes = hn::Max(magnitude, largest_lanes);
      poison = hn::MulAdd(magnitude, zero, poison);
      squares[v] = hn::Add(squares[v], hn::Mul(magnitude, magnitude));
    }
  }
  const float largest = hn::GetLane(hn::MaxOfLanes(d, largest_lanes));
  const bool finite = hn::GetLane(hn::SumOfLanes(d, poison)) == 0.0f;
  const float sum = sum_of_lanes(d, squares);
  return {
      .largest = finite ? largest : std::numeric_limits<float>::quiet_NaN(),
      .no_outliers = largest * largest * static_cast<float>(depth) <= kCoarseCrestSquared * sum};
}

HWY_INLINE float scale_of(float largest, float steps) {
  return std::isnan(largest) ? largest : usable(largest) ? largest / steps : 0.0f;
}

bool quantise_query(const QuantiseQuery& p) {
  const hn::CappedTag<float, 8> d;
  Extent extents[kMaxRows];
  bool coarse = p.bits == CodeBits::four;
  for (size_t row = 0; row < p.rows; ++row) {
    extents[row] = extent_of(p.x + row * p.x_stride, p.depth);
    coarse = coarse && extents[row].no_outliers;
  }
  for (size_t row = 0; row < p.rows; ++row) {
    const float largest = extents[row].largest;
    const int32_t sum = wide_row(d, p.x + row * p.x_stride, p.depth, largest, coarse,
                                 row_data(p.out, row, p.depth));
    p.out.scale[row] = scale_of(largest, kWideMax);
    p.out.constant[row] = p.out.scale[row] * static_cast<float>(sum);
  }
  return coarse;
}

// A weight that is not a number makes the constant, and with it the output, not a number.
template <class D>
HWY_INLINE void weights_row(D d, const QuantiseWeights& p, size_t row) {
  constexpr size_t kLanes = hn::MaxLanes(D());
  constexpr size_t kVectors = 16 / kLanes;
  const bool four = p.bits == CodeBits::four;
  const float* weights = p.p + row * p.p_stride;
  const auto middle = hn::Set(d, four ? float{kMiddleCode} : 0.0f);
  HWY_ALIGN float products[kMaxCodeDepth];
  auto largest_lanes = hn::Zero(d);
  hn::Vec<D> constant[kVectors];
  for (size_t v = 0; v < kVectors; ++v) constant[v] = hn::Zero(d);
  for (size_t t = 0; t < p.depth; t += 16) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = t + v * kLanes;
      const auto weight = hn::LoadU(d, weights + at);
      const auto scale = load_floats(d, p.scale + at);
      const auto product = hn::Mul(weight, scale);
      const auto level = hn::MulAdd(middle, scale, load_floats(d, p.minimum + at));
      constant[v] = hn::MulAdd(weight, level, constant[v]);
      largest_lanes = hn::Max(product, largest_lanes);
      hn::StoreU(product, d, products + at);
    }
  }
  const float largest = hn::GetLane(hn::MaxOfLanes(d, largest_lanes));
  uint8_t* out = row_data(p.out, row, p.depth);
  if (four) {
    byte_row(d, products, p.depth, largest, out);
  } else {
    wide_row(d, products, p.depth, largest, false, out);
  }
  p.out.scale[row] = scale_of(largest, four ? kByteMax : float{kWideMax});
  p.out.constant[row] = sum_of_lanes(d, constant);
}

void quantise_weights(const QuantiseWeights& p) {
  const hn::CappedTag<float, 16> d;
  for (size_t row = 0; row < p.rows; ++row) weights_row(d, p, row);
}

}  // namespace

void fill_quantise(Kernels& table) {
  table.quantise_query = quantise_query;
  table.quantise_weights = quantise_weights;
}

}  // namespace skvis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
