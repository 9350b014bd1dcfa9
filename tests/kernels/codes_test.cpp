// SPDX-License-Identifier: Apache-2.0
// Products with codes: every level against the integer twins, the twins against doubles, quantising
// apart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "inputs.hpp"
#include "kernels/reference/prepared.hpp"
#include "kernels/reference/reference.hpp"

namespace skvis::kernels {
namespace {

constexpr CodeBits kBoth[] = {CodeBits::eight, CodeBits::four};

class CodeKernels : public testing::TestWithParam<Level> {
 protected:
  const Kernels& level_ = kernels_at(GetParam());

  void expect_equal_products(bool keys, CodeBits bits, size_t width, size_t slots, size_t rows,
                             Kind kind, Inputs& inputs);
};

void CodeKernels::expect_equal_products(bool keys, CodeBits bits, size_t width, size_t slots,
                                        size_t rows, Kind kind, Inputs& inputs) {
  const auto b = static_cast<size_t>(bits);
  const size_t lanes = keys ? slots : width;
  const size_t depth = keys ? width : slots;
  const auto codes = inputs.bytes(lanes * depth / (bits == CodeBits::eight ? 1 : 2));
  std::vector<Half> scale = inputs.halves(slots, 0, 0.2f);
  std::vector<Half> minimum = inputs.halves(slots, -2, 0);
  std::vector<float> x = inputs.rows(rows, depth, kind);
  Prepared prepared(rows, depth);
  if (keys) {
    reference::quantise_query_integer({x.data(), depth, depth, rows, prepared.view()});
  } else {
    for (float& weight : x) weight = std::fabs(weight);
    reference::quantise_weights_integer(
        {bits, x.data(), depth, depth, rows, scale.data(), minimum.data(), prepared.view()});
  }
  std::vector<float> expected = keys ? std::vector<float>(rows * lanes) : inputs.rows(rows, lanes);
  std::vector<float> found = expected;
  CodeProduct p = {.codes = codes.data(),
                   .lanes = lanes,
                   .depth = depth,
                   .scale = scale.data(),
                   .minimum = minimum.data(),
                   .x = prepared.view(),
                   .rows = rows,
                   .out = expected.data(),
                   .out_stride = lanes,
                   .prefetch = nullptr};
  const auto run = [&] {
    p.out = expected.data();
    keys ? reference::code_dot_integer(bits, p) : reference::code_accumulate_integer(bits, p);
    p.out = found.data();
    (keys ? level_.code_dot : level_.code_accumulate)[b](p);
  };
  run();
  for (size_t i = 0; i < found.size(); ++i) {
    // The two terms that were added: |minimum| is at most 2.
    const float size = std::fabs(expected[i]) + 4 * std::fabs(prepared.constant[i / lanes]);
    EXPECT_NEAR(found[i], expected[i], 1e-6f * size);
  }
  // With all factors one, what comes out are the integer sums.
  std::fill(prepared.scale.begin(), prepared.scale.end(), 1.0f);
  std::fill(prepared.constant.begin(), prepared.constant.end(), 0.0f);
  std::fill(scale.begin(), scale.end(), to_half(1));
  std::fill(minimum.begin(), minimum.end(), to_half(0));
  std::fill(expected.begin(), expected.end(), 0.0f);
  std::fill(found.begin(), found.end(), 0.0f);
  run();
  EXPECT_EQ(found, expected);
}

TEST_P(CodeKernels, products_equal_their_scalar_twins) {
  Inputs inputs(1);
  for (const CodeBits bits : kBoth) {
    for (const bool keys : {true, false}) {
      for (const size_t width : kHeadDims) {
        for (const size_t slots : {16, 32, 64}) {
          for (size_t rows = 1; rows <= kMaxRows; ++rows) {
            for (const Kind kind : kKinds) {
              expect_equal_products(keys, bits, width, slots, rows, kind, inputs);
            }
          }
        }
      }
    }
  }
}

TEST_P(CodeKernels, largest_sums_do_not_overflow) {
  for (const CodeBits bits : kBoth) {
    {
      const size_t depth = 256;
      const std::vector<uint8_t> codes(16 * depth, 0xff);
      const std::vector<Half> ones(depth, to_half(1)), zeros(depth, to_half(0));
      std::vector<float> x(depth, -1.0f);
      Prepared query(1, depth), weights(1, depth);
      level_.quantise_query({x.data(), depth, depth, 1, query.view()});
      for (float& value : x) value = 1;
      level_.quantise_weights(
          {bits, x.data(), depth, depth, 1, ones.data(), zeros.data(), weights.view()});
      const auto b = static_cast<size_t>(bits);
      const float code = bits == CodeBits::eight ? 255 : 15;
      std::vector<float> out(16);
      CodeProduct p = {codes.data(), 16, depth,      ones.data(), zeros.data(),
                       query.view(), 1,  out.data(), 16,          nullptr};
      level_.code_dot[b](p);
      EXPECT_NEAR(out[9], -code * 256, 1e-5f * code * 256);
      std::fill(out.begin(), out.end(), 0.0f);
      p.x = weights.view();
      level_.code_accumulate[b](p);
      EXPECT_NEAR(out[9], code * 256, 1e-4f * code * 256);
    }
  }
}

// Quantised as the twins do, up to one step on one value in a thousand.
TEST_P(CodeKernels, quantising_equals_the_scalar_twin) {
  Inputs inputs(2);
  size_t values = 0, differing = 0;
  const auto compare_rows = [&](Prepared& expected, Prepared& found, size_t depth, size_t rows) {
    for (size_t row = 0; row < rows; ++row) {
      const size_t at = row * prepared_row_bytes(depth);
      const auto* a = reinterpret_cast<const int16_t*>(&expected.data[at]);
      const auto* b = reinterpret_cast<const int16_t*>(&found.data[at]);
      const auto* bytes = reinterpret_cast<const int8_t*>(&found.data[at]);
      for (size_t k = 0; k < depth; ++k, ++values) {
        const int n = b[integer_position(k)];
        EXPECT_LE(std::abs(a[integer_position(k)] - n), 1);
        differing += a[integer_position(k)] != n ? 1 : 0;
        EXPECT_EQ(bytes[high_byte_position(k)] * 256 + bytes[high_byte_position(k) + 4], n);
      }
    }
  };
  for (const CodeBits bits : kBoth) {
    for (const size_t depth : kHeadDims) {
      for (const Kind kind : kKinds) {
        const size_t rows = 1 + depth % 7;
        const std::vector<float> x = inputs.rows(rows, depth, kind);
        Prepared expected(rows, depth), found(rows, depth);
        reference::quantise_query_integer({x.data(), depth, depth, rows, expected.view()});
        level_.quantise_query({x.data(), depth, depth, rows, found.view()});
        EXPECT_EQ(expected.scale, found.scale);
        compare_rows(expected, found, depth, rows);
        for (size_t row = 0; row < rows; ++row) {
          EXPECT_NEAR(expected.constant[row], found.constant[row], 300 * found.scale[row]);
        }
      }
    }
    for (const size_t slots : {16, 48, 64}) {
      for (const Kind kind : kKinds) {
        std::vector<float> p = inputs.rows(5, slots, kind);
        for (float& weight : p) weight = std::fabs(weight);
        const auto scale = inputs.halves(slots, 0, 0.3f), minimum = inputs.halves(slots, -3, 3);
        Prepared expected(5, slots), found(5, slots);
        const auto prepare = [&](auto function, Prepared& out) {
          function({bits, p.data(), slots, slots, 5, scale.data(), minimum.data(), out.view()});
        };
        prepare(reference::quantise_weights_integer, expected);
        prepare(level_.quantise_weights, found);
        EXPECT_EQ(expected.scale, found.scale);
        for (size_t row = 0; row < 5; ++row) {
          EXPECT_NEAR(expected.constant[row], found.constant[row],
                      2e-6f * slots * (1 + std::fabs(expected.constant[row])) +
                          255 * (has_fma(GetParam()) ? 0 : found.scale[row]));
        }
        compare_rows(expected, found, slots, 5);
      }
    }
  }
  EXPECT_LE(differing, values / 1000);
}

TEST_P(CodeKernels, rows_that_are_not_finite_stay_visible) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    {
      std::vector<float> x(64, 0.5f);
      x[11] = bad;
      Prepared prepared(1, 64);
      level_.quantise_query({x.data(), 64, 64, 1, prepared.view()});
      EXPECT_TRUE(std::isnan(prepared.scale[0]));
      EXPECT_TRUE(std::isnan(prepared.constant[0]));
      reference::quantise_query_integer({x.data(), 64, 64, 1, prepared.view()});
      EXPECT_TRUE(std::isnan(prepared.scale[0]));
    }
  }
}

// Against sums in double: the twins' error is that of their 16-bit or 8-bit operands and no more.
TEST(CodeTwins, agree_with_plain_arithmetic_within_their_operands_precision) {
  Inputs inputs(3);
  for (const CodeBits bits : kBoth) {
    const size_t depth = 128, lanes = 64;
    const auto codes = inputs.bytes(lanes * depth / (bits == CodeBits::eight ? 1 : 2));
    const auto scale = inputs.halves(lanes, 0.01f, 0.02f),
               minimum = inputs.halves(lanes, -1, -0.5f);
    const auto x = inputs.rows(4, depth);
    Prepared integer(4, depth), plain(4, depth);
    reference::quantise_query_integer({x.data(), depth, depth, 4, integer.view()});
    reference::quantise_query({x.data(), depth, depth, 4, plain.view()});
    std::vector<float> a(4 * lanes), b(4 * lanes);
    CodeProduct p = {codes.data(),   lanes, depth,    scale.data(), minimum.data(),
                     integer.view(), 4,     a.data(), lanes,        nullptr};
    reference::code_dot_integer(bits, p);
    p.x = plain.view();
    p.out = b.data();
    reference::code_dot(bits, p);
    double error = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
      size += double(b[i]) * b[i];
    }
    const double relative = std::sqrt(error / size);
    EXPECT_LT(relative, 1e-4);
    EXPECT_GT(relative, 1e-6) << "suspiciously good";
  }
}

INSTANTIATE_TEST_SUITE_P(levels, CodeKernels, testing::ValuesIn(vector_levels()),
                         [](const auto& info) { return std::string(level_name(info.param)); });

}  // namespace
}  // namespace skvis::kernels
