// SPDX-License-Identifier: Apache-2.0
// Parts of a softmax, scaled sums and the Hadamard transform. Loops run over whole vectors of 16
// lanes; what is left goes through a padded copy.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/portable/softmax.cpp"
#include "kernels/portable/targets.hpp"

#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/exp_constants.hpp"
#include "kernels/portable/common-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace skvis::kernels::HWY_NAMESPACE {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// See reference::fast_exp. Several vectors, step by step together: a vector's own steps wait for
// each other, and too few of them fit the processor's queues for vectors to overlap by themselves.
template <class D, size_t kCount>
HWY_INLINE void fast_exp(D d, hn::Vec<D> (&x)[kCount]) {
  namespace c = exp_constants;
  const hn::RebindToUnsigned<D> d32;
  const auto shift = hn::Set(d, kRoundingShift);
  hn::Vec<D> shifted[kCount], r[kCount], y[kCount];
  hn::Mask<D> too_small[kCount];
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount; ++v) too_small[v] = hn::Lt(x[v], hn::Set(d, c::kLowest));
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount; ++v) {
    shifted[v] = hn::MulAdd(x[v], hn::Set(d, c::kLog2E), shift);
  }
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount; ++v) y[v] = hn::Sub(shifted[v], shift);
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount; ++v) r[v] = hn::MulAdd(y[v], hn::Set(d, -c::kLn2High), x[v]);
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount; ++v) r[v] = hn::MulAdd(y[v], hn::Set(d, -c::kLn2Low), r[v]);
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount; ++v) y[v] = hn::Set(d, c::kPolynomial[0]);
#pragma GCC unroll 8
  for (size_t i = 1; i < 6; ++i) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kCount; ++v) {
      y[v] = hn::MulAdd(y[v], r[v], hn::Set(d, c::kPolynomial[i]));
    }
  }
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount; ++v) {
    y[v] = hn::Add(hn::MulAdd(y[v], hn::Mul(r[v], r[v]), r[v]), hn::Set(d, 1.0f));
  }
  // y * 2^n: n is added to y's exponent.
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount; ++v) {
    const auto exponent = hn::ShiftLeft<23>(hn::BitCast(d32, shifted[v]));
    const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(d32, y[v]), exponent));
    x[v] = hn::IfThenZeroElse(too_small[v], scaled);
  }
}

float row_max(const float* x, size_t count) {
  const hn::CappedTag<float, 16> d;
  constexpr size_t kLanes = hn::MaxLanes(d);
  auto largest = hn::Set(d, kMinusInfinity);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) largest = hn::Max(hn::LoadU(d, x + i), largest);
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < count; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

// Vectors of kCount lanes of x become weights; lane i adds to lane i % 16 of `lanes`.
template <size_t kCount, class D, size_t kVectors>
HWY_INLINE void exp_sum_some(D d, float* x, hn::Vec<D> max, hn::Vec<D> (&lanes)[kVectors]) {
  constexpr size_t kLanes = 16 / kVectors;
  hn::Vec<D> y[kCount / kLanes];
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount / kLanes; ++v) {
    y[v] = hn::Sub(hn::LoadU(d, x + v * kLanes), max);
  }
  fast_exp(d, y);
#pragma GCC unroll 8
  for (size_t v = 0; v < kCount / kLanes; ++v) {
    lanes[v % kVectors] = hn::Add(lanes[v % kVectors], y[v]);
    hn::StoreU(y[v], d, x + v * kLanes);
  }
}

// The same for `count` values, a multiple of 16.
template <class D, size_t kVectors>
HWY_INLINE void exp_sum_whole(D d, float* x, size_t count, hn::Vec<D> max,
                              hn::Vec<D> (&lanes)[kVectors]) {
  constexpr size_t kTogether = 4 * hn::MaxLanes(D());
  size_t i = 0;
  for (; i + kTogether <= count; i += kTogether) exp_sum_some<kTogether>(d, x + i, max, lanes);
  for (; i < count; i += 16) exp_sum_some<16>(d, x + i, max, lanes);
}

float exp_sum(float* x, size_t count, float max) {
  if (max == kMinusInfinity) {
    std::fill_n(x, count, 0.0f);
    return 0;
  }
  const hn::CappedTag<float, 16> d;
  constexpr size_t kVectors = 16 / hn::MaxLanes(d);
  const auto max_lanes = hn::Set(d, max);
  hn::Vec<decltype(d)> lanes[kVectors];
  for (size_t v = 0; v < kVectors; ++v) lanes[v] = hn::Zero(d);
  const size_t whole = count / 16 * 16;
  exp_sum_whole(d, x, whole, max_lanes, lanes);
  if (whole < count) {
    float rest[16];
    std::fill_n(rest, 16, kMinusInfinity);
    std::memcpy(rest, x + whole, (count - whole) * sizeof(float));
    exp_sum_whole(d, rest, 16, max_lanes, lanes);
    std::memcpy(x + whole, rest, (count - whole) * sizeof(float));
  }
  return sum_of_lanes(d, lanes);
}

// At most four rows from `first` on: their maxima are found together, and their sums, so that the
// reductions of one row do not wait for those of another.
void softmax_four_rows(const SoftmaxRows& p, size_t first, size_t rows) {
  const hn::CappedTag<float, 16> d;
  const Four d4;
  constexpr size_t kLanes = hn::MaxLanes(d);
  constexpr size_t kVectors = 16 / kLanes;
  const size_t whole = p.count / 16 * 16;
  HWY_ALIGN float rest[4][16];  // of the rows, behind the last whole vectors
  HWY_ALIGN float before[4];
  HWY_ALIGN float sums[4];
  HWY_ALIGN float taken[4];
  if (rows < 4) {
    std::fill_n(before, 4, kMinusInfinity);
    std::fill_n(sums, 4, 0.0f);
    std::copy_n(p.maximum + first, rows, before);
    std::copy_n(p.sum + first, rows, sums);
  }
  hn::Vec<Four> folded[4];
  for (auto& lanes : folded) lanes = hn::Set(d4, kMinusInfinity);
  for (size_t r = 0; r < rows; ++r) {
    const float* x = p.logits + (first + r) * p.stride;
    auto largest = hn::Set(d, kMinusInfinity);
    for (size_t i = 0; i < whole; i += kLanes) largest = hn::Max(hn::LoadU(d, x + i), largest);
    if (whole < p.count) {
      std::fill_n(rest[r], 16, kMinusInfinity);
      std::memcpy(rest[r], x + whole, (p.count - whole) * sizeof(float));
      for (size_t i = 0; i < 16; i += kLanes) {
        largest = hn::Max(hn::LoadU(d, rest[r] + i), largest);
      }
    }
    folded[r] = fold<LargestLane>(d, largest);
  }
  // Four rows are loaded whole: a load waits for narrower stores before it.
  const auto old = hn::LoadU(d4, rows < 4 ? before : p.maximum + first);
  const auto highest = hn::Max(fold_four<LargestLane>(folded), old);
  auto factors = hn::Set(d4, 1.0f);
  // Where no logit is above -infinity: minus infinity less a finite number stays what it is.
  const auto least = hn::Set(d4, std::numeric_limits<float>::lowest());
  // After the first pages maxima seldom grow. A branch that is foreseen lets the exponentials begin
  // before this page's maxima are known.
  if (HWY_LIKELY(hn::AllTrue(d4, hn::Eq(highest, old)))) {
    hn::Store(hn::Max(old, least), d4, taken);
  } else {
    hn::Vec<Four> growth[1] = {hn::Sub(old, highest)};
    fast_exp(d4, growth);
    factors = hn::IfThenElse(hn::Eq(highest, old), factors, growth[0]);
    hn::Store(hn::Max(highest, least), d4, taken);
  }
  for (auto& lanes : folded) lanes = hn::Zero(d4);
  for (size_t r = 0; r < rows; ++r) {
    float* x = p.logits + (first + r) * p.stride;
    const auto max = hn::Set(d, taken[r]);
    hn::Vec<decltype(d)> lanes[kVectors];
    for (size_t v = 0; v < kVectors; ++v) lanes[v] = hn::Zero(d);
    exp_sum_whole(d, x, whole, max, lanes);
    if (whole < p.count) {
      exp_sum_whole(d, rest[r], 16, max, lanes);
      std::memcpy(x + whole, rest[r], (p.count - whole) * sizeof(float));
    }
    for (size_t half = kVectors / 2; half > 0; half /= 2) {
      for (size_t i = 0; i < half; ++i) lanes[i] = hn::Add(lanes[i], lanes[i + half]);
    }
    folded[r] = fold<SumOfLanes>(d, lanes[0]);
  }
  const auto old_sums = hn::LoadU(d4, rows < 4 ? sums : p.sum + first);
  const auto new_sums = hn::MulAdd(old_sums, factors, fold_four<SumOfLanes>(folded));
  if (rows == 4) {
    hn::StoreU(highest, d4, p.maximum + first);
    hn::StoreU(new_sums, d4, p.sum + first);
    hn::StoreU(factors, d4, p.factor + first);
    return;
  }
  hn::Store(highest, d4, before);
  hn::Store(new_sums, d4, sums);
  hn::Store(factors, d4, taken);
  std::copy_n(before, rows, p.maximum + first);
  std::copy_n(sums, rows, p.sum + first);
  std::copy_n(taken, rows, p.factor + first);
}

void softmax_rows(const SoftmaxRows& p) {
  for (size_t row = 0; row < p.rows; row += 4) {
    softmax_four_rows(p, row, std::min<size_t>(p.rows - row, 4));
  }
}

void scale(float* x, size_t count, float factor) {
  const hn::CappedTag<float, 16> d;
  constexpr size_t kLanes = hn::MaxLanes(d);
  const auto factors = hn::Set(d, factor);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), factors), d, x + i);
  }
  for (; i < count; ++i) x[i] *= factor;
}

void add_scaled(float* x, const float* y, size_t count, float factor) {
  const hn::CappedTag<float, 16> d;
  const hn::CappedTag<float, 1> d1;
  constexpr size_t kLanes = hn::MaxLanes(d);
  const auto factors = hn::Set(d, factor);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreU(hn::MulAdd(factors, hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, x + i);
  }
  for (; i < count; ++i) {
    hn::StoreU(hn::MulAdd(hn::Set(d1, factor), hn::LoadU(d1, y + i), hn::LoadU(d1, x + i)), d1,
               x + i);
  }
}

template <class D>
HWY_INLINE void butterfly(D d, float* a, float* b) {
  const auto left = hn::LoadU(d, a);
  const auto right = hn::LoadU(d, b);
  hn::StoreU(hn::Add(left, right), d, a);
  hn::StoreU(hn::Sub(left, right), d, b);
}

void hadamard(float* x, size_t count, size_t order) {
  const hn::CappedTag<float, 16> d;
  const hn::CappedTag<float, 1> d1;
  constexpr size_t kLanes = hn::MaxLanes(d);
  for (size_t stride = 1; stride < order; stride *= 2) {
    for (size_t block = 0; block < count; block += 2 * stride) {
      float* const middle = x + block + stride;
      if (stride < kLanes) {
        for (float* a = x + block; a < middle; ++a) butterfly(d1, a, a + stride);
      } else {
        for (float* a = x + block; a < middle; a += kLanes) butterfly(d, a, a + stride);
      }
    }
  }
  scale(x, count, 1.0f / std::sqrt(static_cast<float>(order)));
}

}  // namespace

void fill_softmax(Kernels& table) {
  table.hadamard = hadamard;
  table.row_max = row_max;
  table.exp_sum = exp_sum;
  table.softmax_rows = softmax_rows;
  table.scale = scale;
  table.add_scaled = add_scaled;
}

}  // namespace skvis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
