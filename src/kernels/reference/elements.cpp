// SPDX-License-Identifier: Apache-2.0
// Elements to floats and back, and rows to columns, one at a time.
#include <cstring>

#include "kernels/reference/reference.hpp"

namespace skvis::kernels::reference {
namespace {

template <typename Element>
void load_16(const void* from, size_t count, float* to) {
  for (size_t i = 0; i < count; ++i) {
    Element element;
    std::memcpy(&element, static_cast<const std::byte*>(from) + i * sizeof element, sizeof element);
    to[i] = to_float(element);
  }
}

template <typename Element, Element (*convert)(float)>
void store_16(const float* from, size_t count, void* to) {
  for (size_t i = 0; i < count; ++i) {
    const Element element = convert(from[i]);
    std::memcpy(static_cast<std::byte*>(to) + i * sizeof element, &element, sizeof element);
  }
}

}  // namespace

void load_elements(ElementType type, const void* from, size_t count, float* to) {
  switch (type) {
    case ElementType::f32:
      std::memcpy(to, from, count * sizeof(float));
      return;
    case ElementType::f16:
      return load_16<Half>(from, count, to);
    case ElementType::bf16:
      return load_16<BFloat16>(from, count, to);
  }
}

void store_elements(ElementType type, const float* from, size_t count, void* to) {
  switch (type) {
    case ElementType::f32:
      std::memcpy(to, from, count * sizeof(float));
      return;
    case ElementType::f16:
      return store_16<Half, to_half>(from, count, to);
    case ElementType::bf16:
      return store_16<BFloat16, to_bfloat16>(from, count, to);
  }
}

void transpose(const Transposition& p) {
  for (size_t row = 0; row < p.rows; ++row) {
    for (size_t column = 0; column < p.columns; ++column) {
      p.to[column * p.to_stride + row] = p.from[row * p.from_stride + column];
    }
  }
}

}  // namespace skvis::kernels::reference
