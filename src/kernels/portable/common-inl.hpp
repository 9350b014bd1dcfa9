// SPDX-License-Identifier: Apache-2.0
// Loads and row groups shared by the files of this folder; included once per target.
#if defined(SKVIS_PORTABLE_COMMON_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef SKVIS_PORTABLE_COMMON_INL
#undef SKVIS_PORTABLE_COMMON_INL
#else
#define SKVIS_PORTABLE_COMMON_INL
#endif

#include <algorithm>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/table.hpp"

HWY_BEFORE_NAMESPACE();
namespace skvis::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Query rows whose sums stay in registers together. More rows walk a tile again while it lies in
// L1.
#if HWY_TARGET == HWY_AVX3
constexpr size_t kRowsAtOnce = 8;
#else
constexpr size_t kRowsAtOnce = 4;
#endif

template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const Half* from) {
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
}
template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const BFloat16* from) {
  const hn::Rebind<hwy::bfloat16_t, D> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::bfloat16_t*>(from)));
}

// Calls Op::run<number>(p, first row, args...) for groups of at most kRowsAtOnce rows.
template <class Op, class P, class... Args>
HWY_INLINE void for_row_groups(const P& p, Args... args) {
  for (size_t row = 0; row < p.rows; row += kRowsAtOnce) {
    switch (std::min(p.rows - row, kRowsAtOnce)) {
      case 1:
        Op::template run<1>(p, row, args...);
        break;
      case 2:
        Op::template run<2>(p, row, args...);
        break;
      case 3:
        Op::template run<3>(p, row, args...);
        break;
      case 4:
        Op::template run<4>(p, row, args...);
        break;
#if HWY_TARGET == HWY_AVX3
      case 5:
        Op::template run<5>(p, row, args...);
        break;
      case 6:
        Op::template run<6>(p, row, args...);
        break;
      case 7:
        Op::template run<7>(p, row, args...);
        break;
      case 8:
        Op::template run<8>(p, row, args...);
        break;
#endif
      default:
        break;
    }
  }
}

// Sum of all lanes of several vectors: halves onto each other, as reference::sum_of_lanes.
template <class D>
HWY_INLINE float sum_of_vector([[maybe_unused]] D d, hn::Vec<D> lanes) {
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return sum_of_vector(half, hn::Add(hn::LowerHalf(half, lanes), hn::UpperHalf(half, lanes)));
  } else {
    lanes = hn::Add(lanes, hn::Shuffle1032(lanes));
    return hn::GetLane(hn::Add(lanes, hn::Shuffle2301(lanes)));
  }
}
template <class D, size_t kVectors>
HWY_INLINE float sum_of_lanes(D d, hn::Vec<D> (&lanes)[kVectors]) {
  for (size_t half = kVectors / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lanes[i] = hn::Add(lanes[i], lanes[i + half]);
  }
  return sum_of_vector(d, lanes[0]);
}

// Four vectors at once: lane i is the sum, or the largest lane, of vector i. Halves onto each other
// as above; a vector is folded to four lanes first.
struct SumOfLanes {
  template <class V>
  static HWY_INLINE V of(V a, V b) {
    return hn::Add(a, b);
  }
};
struct LargestLane {
  template <class V>
  static HWY_INLINE V of(V a, V b) {
    return hn::Max(a, b);
  }
};
using Four = hn::CappedTag<float, 4>;
template <class Op, class D>
HWY_INLINE hn::Vec<Four> fold([[maybe_unused]] D d, hn::Vec<D> lanes) {
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return fold<Op>(half, Op::of(hn::LowerHalf(half, lanes), hn::UpperHalf(half, lanes)));
  } else {
    return lanes;
  }
}
template <class Op>
HWY_INLINE hn::Vec<Four> fold_four(const hn::Vec<Four> (&v)[4]) {
  const Four d;
  const auto low = Op::of(hn::ConcatLowerLower(d, v[1], v[0]), hn::ConcatUpperUpper(d, v[1], v[0]));
  const auto high =
      Op::of(hn::ConcatLowerLower(d, v[3], v[2]), hn::ConcatUpperUpper(d, v[3], v[2]));
  return Op::of(hn::ConcatEven(d, high, low), hn::ConcatOdd(d, high, low));
}

}  // namespace
}  // namespace skvis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // per-target guard
