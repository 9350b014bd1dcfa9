// SPDX-License-Identifier: Apache-2.0
#include "plan/table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shapes.hpp"

namespace skvis {
namespace {

using testing::HasSubstr;

PlanBytes bytes_of(std::string_view text, uint32_t tokens, const CacheShape& shape = tiny_shape()) {
  const auto plan = resolve_plan(text, shape);
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().message);
  return plan ? plan_bytes(*plan, tokens) : PlanBytes{};
}

TEST(PlanTable, the_full_plan_costs_what_the_full_cache_costs) {
  const PlanBytes bytes = bytes_of("full", 1000);
  EXPECT_EQ(bytes.full, 1000u * 24 * 256);
  EXPECT_EQ(bytes.settled, bytes.full);
  EXPECT_EQ(bytes.full_per_token, 24 * 256.0);
}

TEST(PlanTable, exact_rows_and_encoded_rows_are_counted_apart) {
  EXPECT_EQ(bytes_of("int8", 1000).settled, 1000u * 24 * 136);
  EXPECT_EQ(bytes_of("int4 exact=32", 1000).settled, 24u * (32 * 256 + 968 * 72));
  EXPECT_EQ(bytes_of("int4 snapkv:0.5 sinks=4 exact=32", 1000).settled,
            24u * (36 * 256 + 464 * 72));
}

TEST(PlanTable, a_sliding_layer_holds_its_window) {
  const PlanBytes bytes = bytes_of("int8 streaming:0.5 sinks=4", 1000, sliding_shape());
  EXPECT_EQ(bytes.settled, 12u * (128 * 136 + 4 * 256 + 496 * 136));
  EXPECT_EQ(bytes.full, 12u * (128 + 1000) * 256);
}

TEST(PlanTable, protected_rows_stay_whatever_the_budget_says) {
  EXPECT_EQ(bytes_of("streaming:0.01 sinks=4 recent=60", 100).settled, 24u * 64 * 256);
}

TEST(PlanTable, byte_budgets_are_what_a_settled_sequence_holds) {
  const uint64_t bytes = bytes_of("int8 streaming:1000000B exact=16", 5000).settled;
  EXPECT_LE(bytes, 1000000u);
  EXPECT_GT(bytes, 1000000u - 256);
}

TEST(PlanTable, no_tokens_are_no_bytes) {
  EXPECT_EQ(bytes_of("int4 snapkv:0.5", 0).settled, 0u);
  EXPECT_EQ(bytes_of("int4 snapkv:0.5", 0).settled_per_token, 0.0);
}

TEST(PlanTable, equal_heads_share_a_line) {
  const auto plan = resolve_plan(
      R"({"store": [{"key": "int4 hadamard", "value": "int4"}, {"layers": "0-1", "key": "f16"}],
          "keep": {"selector": "snapkv", "ratio": 0.5, "heads": "0-2"}})",
      tiny_shape());
  ASSERT_TRUE(plan.ok());
  const std::string table = plan_table(*plan, 1024);
  EXPECT_THAT(table, HasSubstr("layers  heads  key            value  rows kept"));
  EXPECT_THAT(table, testing::ContainsRegex("\n0-1     0-2    f16            int4         512"));
  EXPECT_THAT(table, testing::ContainsRegex("\n0-1     3      f16            int4        1024"));
  EXPECT_THAT(table, testing::ContainsRegex("\n2-5     0-2    int4 hadamard  int4         512"));
  EXPECT_THAT(table, testing::ContainsRegex("\n2-5     3      int4 hadamard  int4        1024"));
  EXPECT_THAT(table, HasSubstr("keep    snapkv, budget uniform 0.5 of the tokens, observe 32"));
  EXPECT_THAT(table, HasSubstr("settle  every 256 tokens\n"));
  EXPECT_THAT(table, HasSubstr("exact   4 sinks, 32 newest tokens, in f16"));
  EXPECT_THAT(table, HasSubstr("a sequence settled at 1024 tokens"));
  EXPECT_THAT(table, HasSubstr("of the full cache"));
}

TEST(PlanTable, a_budget_without_an_amount_shows_none) {
  const auto plan = resolve_plan(
      R"({"keep": {"selector": "streaming", "budget": "classes", "table":
          [[1,1,0,0], [1,1,0,0], [1,1,0,0], [1,1,0,0], [1,1,0,0], [1,1,0,0]]}})",
      tiny_shape());
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_THAT(plan_table(*plan, 1024),
              HasSubstr("keep    streaming, budget classes, retrieval 0.5\n"));
}

TEST(PlanTable, bytes_are_written_for_people) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1536), "1536 B");
  EXPECT_EQ(bytes_text(24 * 1024), "24.0 KiB");
  EXPECT_EQ(bytes_text(1.5 * 1024 * 1024 * 1024), "1.5 GiB");
}

}  // namespace
}  // namespace skvis
