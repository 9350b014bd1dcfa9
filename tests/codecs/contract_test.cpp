// SPDX-License-Identifier: Apache-2.0
// The contract of codec.hpp for every entry of the registry, alone and with every transform.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "codec_inputs.hpp"

namespace skvis {
namespace {

class Contract : public testing::TestWithParam<Code> {
 protected:
  const Code code_ = GetParam();

  // Calls f(context) for both roles and every head size the code supports.
  template <typename F>
  void for_shapes(F f) const {
    for (const Role role : {Role::key, Role::value}) {
      for (const uint32_t head_dim : kHeadDims) {
        BlockContext context = {.role = role, .head_dim = head_dim, .slots = 64};
        ASSERT_TRUE(code_.supports(context).ok()) << head_dim;
        SCOPED_TRACE(testing::Message() << code_.text() << " head_dim " << head_dim << " role "
                                        << static_cast<int>(role));
        f(context);
      }
    }
  }
};

TEST_P(Contract, head_sizes_no_kernel_can_read_are_refused) {
  for (const uint32_t head_dim : {0u, 4u, 20u, 100u, 1024u}) {
    EXPECT_FALSE(code_.supports({.head_dim = head_dim}).ok()) << head_dim;
  }
}

TEST_P(Contract, bytes_are_those_of_codes_and_parameters) {
  for_shapes([&](const BlockContext& context) {
    const double bits =
        code_.codec->nominal_bits + (code_.codec->exact ? 0 : 32.0 / context.head_dim);
    EXPECT_EQ(code_.block_bytes(context), bits * context.slots * context.head_dim / 8);
  });
}

TEST_P(Contract, encoded_bytes_are_the_same_at_every_kernel_level) {
  for_shapes([&](const BlockContext& context) {
    for (const Rows kind : {Rows::random, Rows::outlier_channels, Rows::denormal}) {
      const auto rows = make_rows(kind, 64, context.head_dim, 1);
      Block expected(code_, context);
      ASSERT_TRUE(kernels::force_level("scalar").ok());
      ASSERT_TRUE(expected.encode(rows.data(), 64));
      for (const kernels::Level level : kernels::available_levels()) {
        ASSERT_TRUE(kernels::force_level(kernels::level_name(level)).ok());
        Block found(code_, context);
        ASSERT_TRUE(found.encode(rows.data(), 64));
        EXPECT_TRUE(found.same_bytes(expected)) << kernels::level_name(level);
      }
    }
  });
}

TEST_P(Contract, a_row_does_not_depend_on_its_company) {
  for_shapes([&](const BlockContext& context) {
    const auto rows = make_rows(Rows::outlier_channels, 64, context.head_dim, 2);
    Block together(code_, context), apart(code_, context);
    ASSERT_TRUE(together.encode(rows.data(), 64));
    for (uint32_t i = 0; i < 64; ++i) {  // 37 is prime to 64: every slot once
      const uint32_t slot = i * 37 % 64;
      ASSERT_TRUE(apart.encode(rows.data() + slot * context.head_dim, 1, slot));
    }
    EXPECT_TRUE(together.same_bytes(apart));
    Block in_runs(code_, context);  // across the borders of tiles
    uint32_t slot = 0;
    for (const uint32_t count : {5, 37, 6, 16}) {
      ASSERT_TRUE(in_runs.encode(rows.data() + slot * context.head_dim, count, slot));
      slot += count;
    }
    EXPECT_TRUE(together.same_bytes(in_runs));
  });
}

TEST_P(Contract, an_expanded_block_holds_the_decoded_rows_where_exact_elements_lie) {
  if (!code_.expands()) return;
  for_shapes([&](const BlockContext& context) {
    const auto rows = make_rows(Rows::outlier_channels, 64, context.head_dim, 6);
    Block block(code_, context);
    ASSERT_TRUE(block.encode(rows.data(), 64));
    std::vector<float> decoded(rows.size()), expanded(rows.size());
    code_.decode(context, block.bytes.data(), 0, 64, decoded.data());
    code_.codec->expand(context, block.bytes.data(), expanded.data());
    for (uint32_t slot = 0; slot < 64; ++slot) {
      for (uint32_t channel = 0; channel < context.head_dim; ++channel) {
        const size_t index = context.role == Role::key
                                 ? kernels::exact_index(64, context.head_dim, slot, channel)
                                 : kernels::exact_index(context.head_dim, 64, channel, slot);
        ASSERT_EQ(expanded[index], decoded[slot * context.head_dim + channel]);
      }
    }
  });
}

TEST_P(Contract, a_copied_code_is_unchanged_in_any_slot_of_any_page) {
  for_shapes([&](const BlockContext& context) {
    const auto rows = make_rows(Rows::heavy_tailed, 64, context.head_dim, 3);
    BlockContext small_context = context;
    small_context.slots = 16;
    Block from(code_, context), to(code_, small_context), expected(code_, small_context);
    ASSERT_TRUE(from.encode(rows.data(), 64));
    for (uint32_t i = 0; i < 16; ++i) {
      const uint32_t source = i * 29 % 64, target = i * 5 % 16;
      code_.codec->copy_slot(context, from.bytes.data(), source, small_context, to.bytes.data(),
                             target);
      ASSERT_TRUE(expected.encode(rows.data() + source * context.head_dim, 1, target));
    }
    EXPECT_TRUE(to.same_bytes(expected));
  });
}

TEST_P(Contract, empty_slots_are_zero_bytes_and_zero_rows) {
  for_shapes([&](const BlockContext& context) {
    const auto rows = make_rows(Rows::random, 3, context.head_dim, 4);
    Block block(code_, context), without(code_, context);
    ASSERT_TRUE(block.encode(rows.data(), 3));
    const auto decoded = block.decode();
    EXPECT_TRUE(std::all_of(decoded.begin() + 3 * context.head_dim, decoded.end(),
                            [](float x) { return x == 0; }));
    // Zero rows written over the three leave nothing behind.
    const std::vector<float> zero(3 * context.head_dim);
    ASSERT_TRUE(block.encode(zero.data(), 3));
    EXPECT_TRUE(block.same_bytes(without));
  });
}

TEST_P(Contract, rows_that_are_not_finite_or_too_large_are_refused) {
  for_shapes([&](const BlockContext& context) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      for (const size_t at : {size_t{0}, size_t{context.head_dim} - 1}) {
        auto rows = make_rows(Rows::random, 2, context.head_dim, 5);
        rows[context.head_dim + at] = bad;
        Block block(code_, context);
        EXPECT_FALSE(block.encode(rows.data(), 2));
      }
    }
    const std::string_view name = code_.codec->name;
    if (name == "f32" || name == "bf16") return;
    std::vector<float> large(context.head_dim, 1.0f);
    large[7] = -1e7f;
    Block block(code_, context);
    EXPECT_FALSE(block.encode(large.data(), 1));
  });
}

TEST_P(Contract, validate_takes_what_encode_wrote_and_refuses_corruption) {
  for_shapes([&](const BlockContext& context) {
    Block block(code_, context);
    const auto rows = make_rows(Rows::random, 64, context.head_dim, 6);
    ASSERT_TRUE(block.encode(rows.data(), 64));
    const auto validate = [&](size_t bytes) {
      return code_.codec->validate(context, {block.bytes.data(), bytes}).ok();
    };
    EXPECT_TRUE(validate(block.bytes.size()));
    EXPECT_FALSE(validate(block.bytes.size() - 1));
    EXPECT_FALSE(validate(0));
    // All ones is NaN in every float format, and the last bytes are a parameter or an element.
    std::memset(block.bytes.data() + block.bytes.size() - 4, 0xff, 4);
    EXPECT_FALSE(validate(block.bytes.size()));
  });
}

class ExactCode : public Contract {};

TEST_P(ExactCode, returns_what_its_format_holds) {
  for_shapes([&](const BlockContext& context) {
    Block block(code_, context), again(code_, context);
    const auto rows = make_rows(Rows::heavy_tailed, 64, context.head_dim, 7);
    ASSERT_TRUE(block.encode(rows.data(), 64));
    const auto decoded = block.decode();
    ASSERT_TRUE(again.encode(decoded.data(), 64));
    EXPECT_EQ(again.decode(), decoded);
    if (code_.codec->name == "f32") {
      EXPECT_EQ(decoded, rows);
    }
  });
}

class PlainCode : public Contract {};

TEST_P(PlainCode, constant_zero_and_denormal_rows_come_back) {
  for_shapes([&](const BlockContext& context) {
    for (const Rows kind : {Rows::constant, Rows::zero, Rows::denormal}) {
      Block block(code_, context);
      const auto rows = make_rows(kind, 64, context.head_dim, 8);
      ASSERT_TRUE(block.encode(rows.data(), 64));
      const auto decoded = block.decode();
      const double tolerance = code_.codec->name == "bf16"  ? 4e-3
                               : code_.codec->name == "f16" ? 5e-4
                                                            : 1e-5;
      for (size_t i = 0; i < rows.size(); ++i) {
        ASSERT_NEAR(decoded[i], rows[i], tolerance * std::fabs(rows[i]) + 1.2e-7) << i;
      }
    }
  });
}

std::string test_name(const testing::TestParamInfo<Code>& info) {
  std::string name = info.param.text();
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

std::vector<Code> codes_where(bool (*wanted)(const Code&)) {
  std::vector<Code> codes = all_codes();
  std::erase_if(codes, [&](const Code& code) { return !wanted(code); });
  return codes;
}

INSTANTIATE_TEST_SUITE_P(registry, Contract, testing::ValuesIn(all_codes()), test_name);
INSTANTIATE_TEST_SUITE_P(registry, PlainCode, testing::ValuesIn(codes_where([](const Code& code) {
                           return code.transform == nullptr;
                         })),
                         test_name);
INSTANTIATE_TEST_SUITE_P(registry, ExactCode, testing::ValuesIn(codes_where([](const Code& code) {
                           return code.transform == nullptr && code.codec->exact;
                         })),
                         test_name);

// Distortion per code, bounded from both sides: too good is a bug as well (a test that compares
// something with itself). Figures for 4 bits: the card of SAW-INT4; 8 bits: (15 / 255)^2 of them.
struct Distortion {
  std::string_view code;
  Rows rows;
  double low, high;
};
class DistortionOf : public testing::TestWithParam<Distortion> {};

TEST_P(DistortionOf, rows_lies_within_its_bounds) {
  const Distortion& expected = GetParam();
  auto code = parse_code(expected.code);
  ASSERT_TRUE(code.ok());
  std::vector<float> all, decoded;
  for (uint32_t page = 0; page < 32; ++page) {
    const BlockContext context = {.role = page % 2 == 0 ? Role::key : Role::value, .head_dim = 128};
    const auto rows = make_rows(expected.rows, 64, 128, 100 + page);
    Block block(*code, context);
    ASSERT_TRUE(block.encode(rows.data(), 64));
    const auto out = block.decode();
    all.insert(all.end(), rows.begin(), rows.end());
    decoded.insert(decoded.end(), out.begin(), out.end());
  }
  const double error = relative_square_error(decoded.data(), all.data(), all.size());
  EXPECT_GE(error, expected.low);
  EXPECT_LE(error, expected.high);
}

INSTANTIATE_TEST_SUITE_P(
    codes, DistortionOf,
    testing::Values(Distortion{"f16", Rows::random, 1e-8, 1e-7},
                    Distortion{"bf16", Rows::random, 1e-6, 5e-6},
                    Distortion{"int8", Rows::random, 2.5e-5, 4.5e-5},
                    Distortion{"int4", Rows::random, 0.8e-2, 1.25e-2},
                    Distortion{"int4 hadamard", Rows::random, 0.8e-2, 1.25e-2},
                    Distortion{"int4", Rows::outlier_channels, 4e-2, 7e-2},
                    Distortion{"int4 hadamard", Rows::outlier_channels, 5e-3, 1.1e-2},
                    Distortion{"int8", Rows::outlier_channels, 1.2e-4, 2.6e-4}));

}  // namespace
}  // namespace skvis
