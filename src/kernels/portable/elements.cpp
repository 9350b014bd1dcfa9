// SPDX-License-Identifier: Apache-2.0
// Elements to floats and back, and rows to columns.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/portable/elements.cpp"
#include "kernels/portable/targets.hpp"

#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "kernels/portable/common-inl.hpp"
#include "kernels/reference/reference.hpp"

HWY_BEFORE_NAMESPACE();
namespace skvis::kernels::HWY_NAMESPACE {
namespace {

using FloatTag = hn::CappedTag<float, 16>;
constexpr size_t kFloats = hn::MaxLanes(FloatTag());

template <typename T, ElementType kType>
void load_elements(const void* from, size_t count, float* to) {
  const FloatTag d;
  const T* elements = static_cast<const T*>(from);
  size_t i = 0;
  for (; i + kFloats <= count; i += kFloats) {
    hn::StoreU(load_floats(d, elements + i), d, to + i);
  }
  reference::load_elements(kType, elements + i, count - i, to + i);
}

HWY_INLINE void store_floats([[maybe_unused]] FloatTag d, hn::Vec<FloatTag> x, Half* to) {
  const hn::Rebind<hwy::float16_t, FloatTag> d16;
  hn::StoreU(hn::DemoteTo(d16, x), d16, reinterpret_cast<hwy::float16_t*>(to));
}

// To nearest even, which Highway 1.0.3 does not do: its conversion cuts off.
HWY_INLINE void store_floats([[maybe_unused]] FloatTag d, hn::Vec<FloatTag> x, BFloat16* to) {
  const hn::RebindToUnsigned<FloatTag> d32;
  const hn::Rebind<uint16_t, FloatTag> d16;
  const auto bits = hn::BitCast(d32, x);
  const auto top = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(top, hn::Set(d32, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(d32, 0x7fffu)), odd));
  const auto quiet = hn::Or(top, hn::Set(d32, 0x40u));
  // By its bits: the library's comparison of a NaN with itself differs from level to level.
  const hn::RebindToSigned<FloatTag> signed32;
  const auto magnitude = hn::And(bits, hn::Set(d32, 0x7fffffffu));
  const auto is_nan =
      hn::RebindMask(d32, hn::Gt(hn::BitCast(signed32, magnitude), hn::Set(signed32, 0x7f800000)));
  hn::StoreU(hn::TruncateTo(d16, hn::IfThenElse(is_nan, quiet, rounded)), d16,
             reinterpret_cast<uint16_t*>(to));
}

template <typename T, ElementType kType>
void store_elements(const float* from, size_t count, void* to) {
  const FloatTag d;
  T* elements = static_cast<T*>(to);
  size_t i = 0;
  for (; i + kFloats <= count; i += kFloats) {
    store_floats(d, hn::LoadU(d, from + i), elements + i);
  }
  reference::store_elements(kType, from + i, count - i, elements + i);
}

// Four rows by four columns in registers.
HWY_INLINE void transpose_four(const float* from, size_t from_stride, float* to, size_t to_stride) {
  const Four d;
  const hn::Repartition<double, Four> pairs;
  const auto row0 = hn::LoadU(d, from);
  const auto row1 = hn::LoadU(d, from + from_stride);
  const auto row2 = hn::LoadU(d, from + 2 * from_stride);
  const auto row3 = hn::LoadU(d, from + 3 * from_stride);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
  const auto store = [&](size_t column, auto x)
                         HWY_ATTR { hn::StoreU(hn::BitCast(d, x), d, to + column * to_stride); };
  store(0, hn::InterleaveLower(pairs, low01, low23));
  store(1, hn::InterleaveUpper(pairs, low01, low23));
  store(2, hn::InterleaveLower(pairs, high01, high23));
  store(3, hn::InterleaveUpper(pairs, high01, high23));
}

void transpose(const Transposition& p) {
  const size_t rows = p.rows / 4 * 4;
  const size_t columns = p.columns / 4 * 4;
  for (size_t column = 0; column < columns; column += 4) {
    for (size_t row = 0; row < rows; row += 4) {
      transpose_four(p.from + row * p.from_stride + column, p.from_stride,
                     p.to + column * p.to_stride + row, p.to_stride);
    }
  }
  Transposition rest = p;
  if (rows < p.rows) {
    rest.from += rows * p.from_stride;
    rest.to += rows;
    rest.rows -= rows;
    reference::transpose(rest);
  }
  if (columns < p.columns) {
    rest = p;
    rest.from += columns;
    rest.to += columns * p.to_stride;
    rest.columns -= columns;
    rest.rows = rows;
    reference::transpose(rest);
  }
}

}  // namespace

void fill_elements(Kernels& table) {
  table.load_elements[static_cast<size_t>(ElementType::bf16)] =
      load_elements<BFloat16, ElementType::bf16>;
  table.store_elements[static_cast<size_t>(ElementType::bf16)] =
      store_elements<BFloat16, ElementType::bf16>;
  table.transpose = transpose;
  // SSE4 has no conversion of halves; Highway's own takes longer than ours, lane by lane.
#if HWY_TARGET != HWY_SSE4
  table.load_elements[static_cast<size_t>(ElementType::f16)] =
      load_elements<Half, ElementType::f16>;
  table.store_elements[static_cast<size_t>(ElementType::f16)] =
      store_elements<Half, ElementType::f16>;
#endif
}

}  // namespace skvis::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
