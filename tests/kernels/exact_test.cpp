// SPDX-License-Identifier: Apache-2.0
// Products with exact elements and the parts of a softmax, every level against the scalar one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "inputs.hpp"
#include "kernels/reference/reference.hpp"

namespace skvis::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class ExactKernels : public testing::TestWithParam<Level> {
 protected:
  const Kernels& level_ = kernels_at(GetParam());

  // `magnitude` is the size of the terms that were added.
  void expect_same(float expected, float found, float magnitude) const {
    if (has_fma(GetParam())) {
      EXPECT_EQ(expected, found);
    } else {
      EXPECT_NEAR(expected, found, 1e-6f * magnitude);
    }
  }
};

std::vector<uint8_t> elements_of(ElementType type, const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * element_bytes(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == ElementType::f32) reinterpret_cast<float*>(bytes.data())[i] = values[i];
    if (type == ElementType::f16) reinterpret_cast<Half*>(bytes.data())[i] = to_half(values[i]);
    if (type == ElementType::bf16) {
      reinterpret_cast<BFloat16*>(bytes.data())[i] = to_bfloat16(values[i]);
    }
  }
  return bytes;
}

TEST_P(ExactKernels, products_equal_the_scalar_level) {
  Inputs inputs(1);
  for (const ElementType type : {ElementType::f32, ElementType::f16, ElementType::bf16}) {
    const auto t = static_cast<size_t>(type);
    for (const size_t width : kHeadDims) {
      for (const size_t slots : {16, 48, 64}) {
        for (size_t rows = 1; rows <= kMaxRows; ++rows) {
          for (const bool keys : {true, false}) {
            const size_t lanes = keys ? slots : width;
            const size_t depth = keys ? width : slots;
            const Kind kind = kKinds[(rows + width) % kKinds.size()];
            const auto matrix = elements_of(type, inputs.rows(lanes, depth, kind));
            const auto x = inputs.rows(rows, depth);
            std::vector<float> expected = inputs.rows(rows, lanes);
            std::vector<float> found = expected;
            for (const size_t row_stride : {size_t{0}, lanes}) {
              ExactProduct p = {.matrix = matrix.data(),
                                .lanes = lanes,
                                .depth = depth,
                                .row_stride = row_stride,
                                .x = x.data(),
                                .x_stride = depth,
                                .rows = rows,
                                .out = expected.data(),
                                .out_stride = lanes,
                                .add = !keys,
                                .prefetch = nullptr};
              reference::exact_product(type, p);
              p.out = found.data();
              level_.exact_product[t](p);
              for (size_t i = 0; i < found.size(); ++i) {
                expect_same(expected[i], found[i],
                            16 * std::sqrt(float(depth)) + std::fabs(found[i]));
              }
            }
          }
        }
      }
    }
  }
}

TEST_P(ExactKernels, layout_of_a_sealed_block_is_the_documented_one) {
  Inputs inputs(2);
  constexpr size_t kLanes = 40;
  constexpr size_t kDepth = 24;
  const std::vector<float> plain = inputs.rows(kDepth, kLanes);  // [k][lane]
  std::vector<float> sealed(plain.size());
  for (size_t k = 0; k < kDepth; ++k) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const size_t tile = lane / 16;
      const size_t at = tile * 16 * kDepth + k * (tile == 2 ? 8 : 16) + lane % 16;
      sealed[at] = plain[k * kLanes + lane];
    }
  }
  const std::vector<float> x = inputs.rows(3, kDepth);
  std::vector<float> from_sealed(3 * kLanes), from_rows(3 * kLanes);
  ExactProduct p = {sealed.data(),      kLanes, kDepth, 0,      x.data(), kDepth, 3,
                    from_sealed.data(), kLanes, false,  nullptr};
  level_.exact_product[0](p);
  p.matrix = plain.data();
  p.row_stride = kLanes;
  p.out = from_rows.data();
  level_.exact_product[0](p);
  EXPECT_EQ(from_sealed, from_rows);
  double sum = 0;
  for (size_t k = 0; k < kDepth; ++k) sum += double(x[k]) * plain[k * kLanes + 39];
  EXPECT_NEAR(from_rows[39], sum, 1e-5);
}

TEST_P(ExactKernels, dots_with_open_rows_equal_the_scalar_level) {
  Inputs inputs(3);
  for (const ElementType type : {ElementType::f32, ElementType::f16, ElementType::bf16}) {
    for (const size_t depth : kHeadDims) {
      for (const size_t tokens : {0, 1, 5, 64}) {
        for (size_t rows = 1; rows <= kMaxRows; ++rows) {
          const size_t stride = depth + 8;
          const auto matrix = elements_of(type, inputs.rows(tokens, stride));
          const auto x = inputs.rows(rows, depth);
          std::vector<float> expected(rows * tokens), found(rows * tokens, 7);
          RowDots p = {matrix.data(), tokens, depth,           stride, x.data(),
                       depth,         rows,   expected.data(), tokens};
          reference::row_dots(type, p);
          p.out = found.data();
          level_.row_dots[static_cast<size_t>(type)](p);
          for (size_t i = 0; i < found.size(); ++i) {
            expect_same(expected[i], found[i], 4 * std::sqrt(float(depth)));
          }
        }
      }
    }
  }
}

TEST_P(ExactKernels, elements_become_floats_and_back_as_the_scalar_conversions_do) {
  // Every half and a float beside each border between two halves, and the same of bfloat16; counts
  // that are no multiple of a vector, and memory behind them that stays.
  std::vector<float> floats;
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    for (const float value : {to_float(Half{static_cast<uint16_t>(bits)}),
                              to_float(BFloat16{static_cast<uint16_t>(bits)})}) {
      floats.insert(floats.end(), {value, std::nextafterf(value, kInfinity), value * 1.00048828125f,
                                   value * 1.00390625f, std::nextafterf(value, -kInfinity)});
    }
  }
  for (const ElementType type : {ElementType::f32, ElementType::f16, ElementType::bf16}) {
    const auto t = static_cast<size_t>(type);
    const size_t bytes = element_bytes(type);
    for (const size_t count : {size_t{0}, size_t{1}, size_t{15}, size_t{64}, floats.size() - 3}) {
      std::vector<uint8_t> expected(floats.size() * bytes, 0x5a), found = expected;
      reference::store_elements(type, floats.data(), count, expected.data());
      level_.store_elements[t](floats.data(), count, found.data());
      EXPECT_EQ(expected, found) << "type " << t << ", count " << count;
      std::vector<float> back(floats.size(), 7), found_back = back;
      reference::load_elements(type, expected.data(), count, back.data());
      level_.load_elements[t](expected.data(), count, found_back.data());
      for (size_t i = 0; i < back.size(); ++i) {
        if (std::isnan(back[i])) {
          EXPECT_TRUE(std::isnan(found_back[i]));
        } else {
          EXPECT_EQ(back[i], found_back[i]);
        }
      }
    }
  }
}

TEST_P(ExactKernels, rows_become_columns_of_any_number) {
  Inputs inputs(7);
  for (const size_t rows : {0, 1, 3, 4, 17, 64}) {
    for (const size_t columns : {1, 2, 8, 31, 64}) {
      const std::vector<float> from = inputs.rows(rows, columns + 5);
      std::vector<float> to(columns * (rows + 3), 7);
      level_.transpose({from.data(), columns + 5, rows, columns, to.data(), rows + 3});
      for (size_t column = 0; column < columns; ++column) {
        for (size_t row = 0; row < rows + 3; ++row) {
          EXPECT_EQ(to[column * (rows + 3) + row],
                    row < rows ? from[row * (columns + 5) + column] : 7);
        }
      }
    }
  }
}

TEST_P(ExactKernels, softmax_parts_equal_the_scalar_level_for_every_count) {
  Inputs inputs(4);
  for (size_t count = 0; count < 70; ++count) {
    std::vector<float> x = inputs.rows(1, count);
    for (size_t i = 0; i < count; i += 7) x[i] = -kInfinity;
    for (size_t i = 3; i < count; i += 11) x[i] = -86.9f - std::fabs(inputs.rows(1, 1)[0]);
    const float max = reference::row_max(x.data(), count);
    EXPECT_EQ(level_.row_max(x.data(), count), max);
    std::vector<float> found = x;
    const float expected_sum = reference::exp_sum(x.data(), count, max);
    const float sum = level_.exp_sum(found.data(), count, max);
    expect_same(expected_sum, sum, expected_sum);
    for (size_t i = 0; i < count; ++i) expect_same(x[i], found[i], x[i]);
    const std::vector<float> y = inputs.rows(1, count);
    reference::add_scaled(x.data(), y.data(), count, 0.3f);
    level_.add_scaled(found.data(), y.data(), count, 0.3f);
    reference::scale(x.data(), count, 1.7f);
    level_.scale(found.data(), count, 1.7f);
    for (size_t i = 0; i < count; ++i) expect_same(x[i], found[i], 10);
  }
}

TEST_P(ExactKernels, softmax_over_rows_equals_the_scalar_level_step_after_step) {
  Inputs inputs(6);
  for (size_t rows = 1; rows <= kMaxRows; ++rows) {
    std::vector<float> maximum(rows, -kInfinity), sum(rows, 0), factor(rows);
    std::vector<float> found_maximum = maximum, found_sum = sum, found_factor = factor;
    // The second row begins with nothing alive; some steps bring no new maximum, the third nothing.
    const size_t counts[] = {64, 5, 0, 64, 16, 37, 64};
    for (size_t step = 0; step < std::size(counts); ++step) {
      const size_t count = counts[step], stride = 67;
      std::vector<float> x = inputs.rows(rows, stride);
      for (size_t i = 0; i < x.size(); ++i) {
        if (i % 7 == 3 || (step == 0 && i / stride == 1)) x[i] = -kInfinity;
        x[i] += step % 2 == 1 ? -9.0f : static_cast<float>(step);
      }
      std::vector<float> found = x;
      reference::softmax_rows(
          {x.data(), stride, count, rows, maximum.data(), sum.data(), factor.data()});
      level_.softmax_rows({found.data(), stride, count, rows, found_maximum.data(),
                           found_sum.data(), found_factor.data()});
      EXPECT_EQ(found_maximum, maximum);
      for (size_t row = 0; row < rows; ++row) {
        expect_same(factor[row], found_factor[row], 1);
        expect_same(sum[row], found_sum[row], sum[row]);
        float* expected_row = &x[row * stride];
        for (size_t i = 0; i < count; ++i) {
          expect_same(expected_row[i], found[row * stride + i], expected_row[i]);
        }
        // What lies behind `count` stays as it was.
        EXPECT_TRUE(
            std::equal(expected_row + count, expected_row + stride, &found[row * stride + count]));
      }
    }
  }
}

TEST_P(ExactKernels, softmax_over_rows_shows_what_is_not_a_number) {
  std::vector<float> x(3 * 64, 0.5f);
  x[64 + 11] = std::numeric_limits<float>::quiet_NaN();
  float maximum[] = {-kInfinity, -kInfinity, 7}, sum[] = {0, 0, 1}, factor[3];
  level_.softmax_rows({x.data(), 64, 64, 3, maximum, sum, factor});
  EXPECT_THAT(maximum, testing::ElementsAre(0.5f, 0.5f, 7));
  EXPECT_FLOAT_EQ(sum[0], 64);
  EXPECT_TRUE(std::isnan(sum[1]));
  EXPECT_FLOAT_EQ(sum[2], 1 + 64 * std::exp(-6.5f));
  EXPECT_THAT(factor, testing::ElementsAre(0, 0, 1));
}

TEST_P(ExactKernels, exp_is_within_two_ulp_and_vanishes_below_its_range) {
  for (float x = -86.99f; x <= 0; x += 0.0037f) {
    float y = x;
    level_.exp_sum(&y, 1, 0);
    const double exact = std::exp(double(x));
    EXPECT_NEAR(y, exact, 2.5e-7 * exact) << x;
  }
  float small[] = {-87.1f, -1000, -kInfinity, 0};
  EXPECT_EQ(level_.exp_sum(small, 4, 0), 1.0f);
  EXPECT_THAT(small, testing::ElementsAre(0, 0, 0, 1));
}

TEST_P(ExactKernels, softmax_over_nothing_alive_is_zero_and_not_nan) {
  std::vector<float> x(20, -kInfinity);
  const float max = level_.row_max(x.data(), x.size());
  EXPECT_EQ(max, -kInfinity);
  EXPECT_EQ(level_.exp_sum(x.data(), x.size(), max), 0);
  EXPECT_THAT(x, testing::Each(0.0f));
}

TEST_P(ExactKernels, hadamard_is_bit_identical_and_its_own_inverse) {
  Inputs inputs(5);
  for (const size_t width : kHeadDims) {
    for (size_t order = 1; order <= (width & ~(width - 1)); order *= 2) {
      const std::vector<float> x = inputs.rows(1, width);
      std::vector<float> expected = x, found = x;
      reference::hadamard(expected.data(), width, order);
      level_.hadamard(found.data(), width, order);
      EXPECT_EQ(expected, found);
      double before = 0, after = 0;
      for (size_t i = 0; i < order; ++i) before += double(x[i]) * x[i];
      for (size_t i = 0; i < order; ++i) after += double(found[i]) * found[i];
      EXPECT_NEAR(after, before, 1e-5 * before) << "a block mixes with its neighbours";
      level_.hadamard(found.data(), width, order);
      for (size_t i = 0; i < width; ++i) EXPECT_NEAR(found[i], x[i], 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(levels, ExactKernels, testing::ValuesIn(vector_levels()),
                         [](const auto& info) { return std::string(level_name(info.param)); });

}  // namespace
}  // namespace skvis::kernels
