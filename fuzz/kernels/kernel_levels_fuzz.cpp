// SPDX-License-Identifier: Apache-2.0
// The same bytes into the scalar kernels and into every other level: integer sums exactly, prepared
// integers within one step, exact products bit for bit where the level fuses its multiply-adds.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/reference/prepared.hpp"
#include "kernels/reference/reference.hpp"

namespace {

using namespace skvis;
using namespace skvis::kernels;

void require(bool condition) {
  if (!condition) __builtin_trap();
}

// Hands out the fuzzer's bytes, then zeros.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  void fill(void* out, size_t count) {
    const size_t have = std::min(count, size_);
    if (have != 0) std::memcpy(out, data_, have);
    std::memset(static_cast<char*>(out) + have, 0, count - have);
    data_ += have;
    size_ -= have;
  }
  uint8_t byte() {
    uint8_t value;
    fill(&value, 1);
    return value;
  }
  std::vector<float> floats(size_t count) {
    std::vector<float> values(count);
    fill(values.data(), count * sizeof(float));
    return values;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

struct Prepared {
  Prepared(size_t rows, size_t depth)
      : data(rows * prepared_row_bytes(depth)), scale(rows), constant(rows) {}
  PreparedRows view() { return {data.data(), scale.data(), constant.data()}; }
  std::vector<uint8_t> data;
  std::vector<float> scale, constant;
};

struct Shape {
  bool keys;
  CodeBits bits;
  size_t width, slots, rows;
  size_t lanes() const { return keys ? slots : width; }
  size_t depth() const { return keys ? width : slots; }
};

void compare_prepared(const Shape& shape, const Prepared& a, const Prepared& b) {
  for (size_t row = 0; row < shape.rows; ++row) {
    require(a.scale[row] == b.scale[row] || std::isnan(a.constant[row]));
    if (std::isnan(a.constant[row]) || !std::isfinite(a.scale[row])) continue;
    const size_t at = row * prepared_row_bytes(shape.depth());
    for (size_t k = 0; k < shape.depth(); ++k) {
      int16_t n, m;
      std::memcpy(&n, &a.data[at + 2 * integer_position(k)], sizeof n);
      std::memcpy(&m, &b.data[at + 2 * integer_position(k)], sizeof m);
      require(std::abs(n - m) <= 1);
    }
  }
}

void compare_codes(const Shape& shape, Bytes bytes) {
  const size_t lanes = shape.lanes(), depth = shape.depth(), rows = shape.rows;
  const auto b = static_cast<size_t>(shape.bits);
  std::vector<uint8_t> codes(lanes * depth / (shape.bits == CodeBits::eight ? 1 : 2));
  bytes.fill(codes.data(), codes.size());
  std::vector<float> x = bytes.floats(rows * depth);
  const std::vector<Half> ones(shape.slots, to_half(1)), zeros(shape.slots, to_half(0));
  if (!shape.keys) {
    for (float& weight : x) weight = std::fabs(weight);
  }
  const auto prepare = [&](auto query, auto weights, Prepared& out) {
    if (shape.keys) {
      query({x.data(), depth, depth, rows, out.view()});
    } else {
      weights({shape.bits, x.data(), depth, depth, rows, ones.data(), zeros.data(), out.view()});
    }
  };
  Prepared twin(rows, depth);
  prepare(reference::quantise_query_integer, reference::quantise_weights_integer, twin);
  for (const Level level : available_levels()) {
    if (level == Level::scalar) continue;
    const Kernels& kernels = kernels_at(level);
    if (level != Level::sse4) {
      Prepared found(rows, depth);
      prepare(kernels.quantise_query, kernels.quantise_weights, found);
      compare_prepared(shape, twin, found);
    }
    Prepared plain = twin;
    std::fill(plain.scale.begin(), plain.scale.end(), 1.0f);
    std::fill(plain.constant.begin(), plain.constant.end(), 0.0f);
    std::vector<float> expected(rows * lanes), found(rows * lanes);
    CodeProduct p = {codes.data(), lanes, depth,           ones.data(), zeros.data(),
                     plain.view(), rows,  expected.data(), lanes,       nullptr};
    shape.keys ? reference::code_dot_integer(shape.bits, p)
               : reference::code_accumulate_integer(shape.bits, p);
    p.out = found.data();
    (shape.keys ? kernels.code_dot : kernels.code_accumulate)[b](p);
    require(expected == found);
  }
}

void compare_exact(const Shape& shape, ElementType type, Bytes bytes) {
  const size_t lanes = shape.lanes(), depth = shape.depth(), rows = shape.rows;
  std::vector<float> x = bytes.floats(rows * depth);
  std::vector<float> matrix = bytes.floats(lanes * depth);  // enough for every type
  for (const Level level : available_levels()) {
    if (level == Level::scalar || level == Level::sse4) continue;
    std::vector<float> expected(rows * lanes), found(rows * lanes);
    ExactProduct p = {matrix.data(), lanes,           depth, 0,           x.data(), depth,
                      rows,          expected.data(), lanes, !shape.keys, nullptr};
    reference::exact_product(type, p);
    p.out = found.data();
    kernels_at(level).exact_product[static_cast<size_t>(type)](p);
    for (size_t i = 0; i < found.size(); ++i) {
      require(expected[i] == found[i] || (std::isnan(expected[i]) && std::isnan(found[i])));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  const uint8_t flags = bytes.byte();
  const Shape shape = {.keys = (flags & 1) != 0,
                       .bits = (flags & 2) != 0 ? CodeBits::eight : CodeBits::four,
                       .width = size_t{8} * (1 + bytes.byte() % 32),
                       .slots = size_t{16} * (1 + bytes.byte() % 4),
                       .rows = size_t{1} + bytes.byte() % kMaxRows};
  if ((flags & 4) != 0) {
    compare_codes(shape, bytes);
  } else {
    compare_exact(shape, static_cast<ElementType>(flags / 8 % kElementTypes), bytes);
  }
  return 0;
}
