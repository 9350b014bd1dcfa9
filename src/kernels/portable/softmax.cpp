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

// See reference::fast_exp.
template <class D>
HWY_INLINE hn::Vec<D> fast_exp(D d, hn::Vec<D> x) {
  namespace c = exp_constants;
  const auto too_small = hn::Lt(x, hn::Set(d, c::kLowest));
  const auto shifted = hn::MulAdd(x, hn::Set(d, c::kLog2E), hn::Set(d, kRoundingShift));
  const auto n = hn::Sub(shifted, hn::Set(d, kRoundingShift));
  auto r = hn::MulAdd(n, hn::Set(d, -c::kLn2High), x);
  r = hn::MulAdd(n, hn::Set(d, -c::kLn2Low), r);
  auto y = hn::Set(d, c::kPolynomial[0]);
  for (size_t i = 1; i < 6; ++i) y = hn::MulAdd(y, r, hn::Set(d, c::kPolynomial[i]));
  y = hn::Add(hn::MulAdd(y, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  // y * 2^n: n is added to y's exponent.
  const hn::RebindToUnsigned<D> d32;
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(d32, shifted));
  const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(d32, y), exponent));
  return hn::IfThenZeroElse(too_small, scaled);
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

template <class D, size_t kVectors>
HWY_INLINE void exp_sum_16(D d, float* x, hn::Vec<D> max, hn::Vec<D> (&lanes)[kVectors]) {
  constexpr size_t kLanes = 16 / kVectors;
  for (size_t v = 0; v < kVectors; ++v) {
    const auto y = fast_exp(d, hn::Sub(hn::LoadU(d, x + v * kLanes), max));
    lanes[v] = hn::Add(lanes[v], y);
    hn::StoreU(y, d, x + v * kLanes);
  }
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
  for (size_t i = 0; i < whole; i += 16) exp_sum_16(d, x + i, max_lanes, lanes);
  if (whole < count) {
    float rest[16];
    std::fill_n(rest, 16, kMinusInfinity);
    std::memcpy(rest, x + whole, (count - whole) * sizeof(float));
    exp_sum_16(d, rest, max_lanes, lanes);
    std::memcpy(x + whole, rest, (count - whole) * sizeof(float));
  }
  return sum_of_lanes(d, lanes);
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
  table.scale = scale;
  table.add_scaled = add_scaled;
}

}  // namespace skvis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
