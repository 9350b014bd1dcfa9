// SPDX-License-Identifier: Apache-2.0
// The functions of one row: norm, activation, sum, conversion. Included once per Highway target.
#if defined(SKVIS_KERNELS_DENSE_ROWS) == defined(HWY_TARGET_TOGGLE)
#ifdef SKVIS_KERNELS_DENSE_ROWS
#undef SKVIS_KERNELS_DENSE_ROWS
#else
#define SKVIS_KERNELS_DENSE_ROWS
#endif

#include <cmath>

#include "base/half.hpp"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skvis {
namespace HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::CappedTag<float, 16>;
constexpr size_t kFloatLanes = HWY_MIN(HWY_LANES(float), 16);

inline void to_half_row(const float* x, size_t n, Half* out) {
  const FloatTag d;
  const hn::Rebind<hwy::float16_t, FloatTag> dh;
  auto* halves = reinterpret_cast<hwy::float16_t*>(out);
  size_t i = 0;
  for (; i + kFloatLanes <= n; i += kFloatLanes) {
    hn::StoreU(hn::DemoteTo(dh, hn::LoadU(d, x + i)), dh, halves + i);
  }
  for (; i < n; ++i) out[i] = to_half(x[i]);
}

inline void rms_norm(const float* x, const float* weight, size_t n, float eps, float* y) {
  const FloatTag d;
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * kFloatLanes <= n; i += 2 * kFloatLanes) {
    const auto a = hn::LoadU(d, x + i);
    const auto b = hn::LoadU(d, x + i + kFloatLanes);
    even = hn::MulAdd(a, a, even);
    odd = hn::MulAdd(b, b, odd);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (size_t j = i; j < n; ++j) sum += x[j] * x[j];
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
  const auto scales = hn::Set(d, scale);
  for (i = 0; i + kFloatLanes <= n; i += kFloatLanes) {
    const auto scaled = hn::Mul(hn::LoadU(d, x + i), scales);
    hn::StoreU(hn::Mul(scaled, hn::LoadU(d, weight + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] = x[i] * scale * weight[i];
}

HWY_INLINE hn::Vec<FloatTag> silu_product(hn::Vec<FloatTag> gate, hn::Vec<FloatTag> up) {
  const FloatTag d;
  // Below -88 exp(-gate) leaves the range in which the library's Exp is specified, and the result
  // is zero to 36 digits. A NaN stays a NaN.
  const auto limit = hn::Set(d, -88.0f);
  const auto numerator = hn::IfThenZeroElse(hn::Lt(gate, limit), gate);
  const auto denominator = hn::Add(hn::Set(d, 1.0f), hn::Exp(d, hn::Neg(hn::Max(gate, limit))));
  return hn::Mul(hn::Div(numerator, denominator), up);
}

inline void silu_multiply(const float* gate, const float* up, size_t n, float* out) {
  const FloatTag d;
  size_t i = 0;
  for (; i + kFloatLanes <= n; i += kFloatLanes) {
    hn::StoreU(silu_product(hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, out + i);
  }
  if (i == n) return;
  HWY_ALIGN float last_gate[kFloatLanes] = {};
  HWY_ALIGN float last_up[kFloatLanes] = {};
  for (size_t j = i; j < n; ++j) last_gate[j - i] = gate[j], last_up[j - i] = up[j];
  hn::Store(silu_product(hn::Load(d, last_gate), hn::Load(d, last_up)), d, last_gate);
  for (size_t j = i; j < n; ++j) out[j] = last_gate[j - i];
}

inline void add(const float* x, size_t n, float* sum) {
  const FloatTag d;
  size_t i = 0;
  for (; i + kFloatLanes <= n; i += kFloatLanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, x + i)), d, sum + i);
  }
  for (; i < n; ++i) sum[i] += x[i];
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace skvis
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
