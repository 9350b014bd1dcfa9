// SPDX-License-Identifier: Apache-2.0
// Where a transform is applied, seen through a codec that stores plain floats and a quarter turn of
// neighbouring channels, whose effects can be written down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "codecs/codec.hpp"

namespace skvis {
namespace {

using testing::HasSubstr;

constexpr uint32_t kDim = 4;

float* row_of(std::byte* block, uint32_t slot) {
  return reinterpret_cast<float*>(block) + size_t{slot} * kDim;
}

const Codec kPlain = {
    .name = "plain",
    .supports = [](const BlockContext&) { return Result<void>(); },
    .block_bytes = [](const BlockContext& context) { return context.slots * kDim * sizeof(float); },
    .encode =
        [](const BlockContext&, RowsView rows, uint32_t first_slot, std::byte* block) {
          for (uint32_t i = 0; i < rows.rows; ++i) {
            std::memcpy(row_of(block, first_slot + i), rows.row(i), kDim * sizeof(float));
          }
          return true;
        },
    .decode =
        [](const BlockContext&, const std::byte* block, uint32_t first_slot, uint32_t count,
           float* rows) {
          std::memcpy(rows, row_of(const_cast<std::byte*>(block), first_slot),
                      count * kDim * sizeof(float));
        },
    .query_bytes = [](const BlockContext&, uint32_t rows) { return rows * kDim * sizeof(float); },
    .prepare_query = [](const BlockContext&, const float* q, uint32_t rows,
                        std::byte* query) { std::memcpy(query, q, rows * kDim * sizeof(float)); },
};

// (a, b) -> (b, -a): orthonormal, and not its own inverse, so that directions show.
const Transform kTurn = {
    .name = "turn",
    .supports =
        [](uint32_t head_dim) {
          return head_dim % 2 == 0 ? Result<void>() : Result<void>(fail("odd head_dim"));
        },
    .forward =
        [](uint32_t head_dim, float* rows, size_t count) {
          for (size_t i = 0; i < count * head_dim; i += 2) {
            const float a = rows[i];
            rows[i] = rows[i + 1];
            rows[i + 1] = -a;
          }
        },
    .inverse =
        [](uint32_t head_dim, float* rows, size_t count) {
          for (size_t i = 0; i < count * head_dim; i += 2) {
            const float a = rows[i];
            rows[i] = -rows[i + 1];
            rows[i + 1] = a;
          }
        },
};

const Code kTurned = {.codec = &kPlain, .transform = &kTurn};
const BlockContext kKey = {.role = Role::key, .head_dim = kDim, .slots = 16};
const BlockContext kValue = {.role = Role::value, .head_dim = kDim, .slots = 16};

struct Block {
  std::vector<float> floats = std::vector<float>(16 * kDim, 0.0f);
  std::byte* bytes() { return reinterpret_cast<std::byte*>(floats.data()); }
};

TEST(Code, rows_are_mapped_before_encode_and_back_after_decode) {
  // Two rows, seven floats apart.
  const std::vector<float> rows = {1, 2, 3, 4, 99, 99, 99, 5, 6, 7, 8};
  Block block;
  ASSERT_TRUE(kTurned.encode(kKey, RowsView{rows.data(), 2, kDim, 7}, 3, block.bytes()));
  EXPECT_THAT(std::vector<float>(row_of(block.bytes(), 3), row_of(block.bytes(), 5)),
              testing::ElementsAre(2, -1, 4, -3, 6, -5, 8, -7));
  EXPECT_EQ(row_of(block.bytes(), 2)[0], 0);
  EXPECT_EQ(row_of(block.bytes(), 5)[0], 0);
  std::vector<float> decoded(2 * kDim);
  kTurned.decode(kKey, block.bytes(), 3, 2, decoded.data());
  EXPECT_THAT(decoded, testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(rows[4], 99);  // the caller's rows stay as they were
}

TEST(Code, a_mapped_query_keeps_its_products_with_mapped_keys) {
  const std::vector<float> key = {1, -2, 3, 0.5f};
  const std::vector<float> q = {0.25f, 1, -1, 2, 3, 0, 0, 1};
  Block block;
  ASSERT_TRUE(kTurned.encode(kKey, RowsView{key.data(), 1, kDim, kDim}, 0, block.bytes()));
  std::vector<float> query(2 * kDim);
  ASSERT_EQ(kTurned.query_bytes(kKey, 2), query.size() * sizeof(float));
  kTurned.prepare_query(kKey, q.data(), 2, reinterpret_cast<std::byte*>(query.data()));
  for (size_t row = 0; row < 2; ++row) {
    float mapped = 0;
    float plain = 0;
    for (size_t i = 0; i < kDim; ++i) {
      mapped += query[row * kDim + i] * block.floats[i];
      plain += q[row * kDim + i] * key[i];
    }
    EXPECT_EQ(mapped, plain);
  }
  EXPECT_EQ(q[0], 0.25f);
}

TEST(Code, values_come_back_in_finish_and_keys_are_left) {
  const std::vector<float> accumulator = {2, -1, 4, -3};
  const std::vector<float> sums = {1};
  std::vector<float> out(kDim);
  EXPECT_EQ(kTurned.accumulator_width(kValue), kDim);
  kTurned.finish(kValue, accumulator.data(), sums.data(), 1, out.data());
  EXPECT_THAT(out, testing::ElementsAre(1, 2, 3, 4));
  std::vector<float> in_place = accumulator;
  kTurned.finish(kValue, in_place.data(), sums.data(), 1, in_place.data());
  EXPECT_EQ(in_place, out);
  const Code plain = {.codec = &kPlain};
  plain.finish(kValue, accumulator.data(), sums.data(), 1, out.data());
  EXPECT_EQ(out, accumulator);
}

TEST(Code, codecs_without_kernels_need_no_query) {
  Codec slow = kPlain;
  slow.query_bytes = nullptr;
  const Code code = {.codec = &slow};
  EXPECT_EQ(code.query_bytes(kKey, 8), 0u);
  EXPECT_FALSE(code.fused());
}

TEST(Code, both_parts_must_support_the_shape) {
  EXPECT_TRUE(kTurned.supports(kKey).ok());
  BlockContext odd = kKey;
  odd.head_dim = 5;
  EXPECT_THAT(kTurned.supports(odd).error().message, HasSubstr("odd head_dim"));
  Codec early = kPlain;
  early.key_form = KeyForm::before_rope;
  const Code code = {.codec = &early, .transform = &kTurn};
  EXPECT_THAT(code.supports(kKey).error().message, HasSubstr("before RoPE"));
  EXPECT_TRUE(code.supports(kValue).ok());
}

TEST(ParseCode, words_come_in_any_order_and_are_written_codec_first) {
  for (const std::string_view text : {"int4 hadamard", "hadamard int4", "  hadamard\t int4 "}) {
    const auto code = parse_code(text);
    ASSERT_TRUE(code.ok()) << text;
    EXPECT_EQ(code->text(), "int4 hadamard");
  }
  const auto plain = parse_code("f16");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->transform, nullptr);
  EXPECT_EQ(*plain, *parse_code("f16"));
  EXPECT_FALSE(*plain == *parse_code("int8"));
}

TEST(ParseCode, every_name_of_the_registry_is_a_code) {
  for (const Codec* codec : codecs()) {
    const auto code = parse_code(codec->name);
    ASSERT_TRUE(code.ok()) << codec->name;
    EXPECT_EQ(code->codec, codec);
    for (const Transform* transform : transforms()) {
      const auto both = parse_code(fmt::format("{} {}", transform->name, codec->name));
      ASSERT_TRUE(both.ok());
      EXPECT_EQ(both->codec, codec);
      EXPECT_EQ(both->transform, transform);
    }
  }
}

TEST(ParseCode, messages_name_what_is_wrong_and_the_nearest_word) {
  const auto problem = [](std::string_view text) { return parse_code(text).error().message; };
  EXPECT_THAT(problem("int4 hadamrd"), HasSubstr("'hadamrd'; did you mean 'hadamard'?"));
  EXPECT_THAT(problem("nit8"), HasSubstr("did you mean 'int8'?"));
  EXPECT_THAT(problem("int4 int8"), HasSubstr("two codecs, int4 and int8"));
  EXPECT_THAT(problem("int4 hadamard hadamard"), HasSubstr("two transforms"));
  EXPECT_THAT(problem("hadamard"), HasSubstr("names no codec"));
  EXPECT_THAT(problem(""), HasSubstr("names no codec; expected one of"));
  EXPECT_THAT(problem(std::string(1000, 'x')), HasSubstr("1000 characters"));
}

}  // namespace
}  // namespace skvis
