// SPDX-License-Identifier: Apache-2.0
#include "plan/ranges.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace skvis {
namespace {

using Flags = std::vector<uint8_t>;

Flags parse(std::string_view text, Problems& problems) {
  return parse_ranges(text, 6, "store[1]", "layers", problems);
}

TEST(Ranges, all_forms_are_read) {
  Problems problems;
  EXPECT_EQ(parse("*", problems), (Flags{1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(parse("3", problems), (Flags{0, 0, 0, 1, 0, 0}));
  EXPECT_EQ(parse("0-2", problems), (Flags{1, 1, 1, 0, 0, 0}));
  EXPECT_EQ(parse("4-", problems), (Flags{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(parse("0,2,4-5", problems), (Flags{1, 0, 1, 0, 1, 1}));
  EXPECT_TRUE(problems.empty());
}

TEST(Ranges, bad_forms_are_problems_that_name_them) {
  for (const std::string_view text :
       {"", "a", "1,", "-3", "3-1", "1--2", "1-2-3", "1 -2", "0x1", "99999999999", "1,*x"}) {
    Problems problems;
    parse(text, problems);
    EXPECT_EQ(problems.count(), 1u) << text;
    EXPECT_THAT(problems.error("'p'").message, testing::HasSubstr("store[1].layers")) << text;
  }
}

TEST(Ranges, what_goes_beyond_the_model_is_a_problem_with_its_limit) {
  for (const std::string_view text : {"6", "4-6", "6-", "0,4294967295"}) {
    Problems problems;
    parse(text, problems);
    ASSERT_EQ(problems.count(), 1u) << text;
    EXPECT_THAT(problems.error("'p'").message, testing::HasSubstr("6 layers, numbered 0-5"));
  }
}

TEST(Ranges, endless_text_is_refused) {
  Problems problems;
  parse(std::string(1 << 20, ','), problems);
  EXPECT_EQ(problems.count(), 1u);
}

TEST(Ranges, text_and_flags_are_inverse) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    Flags flags(6);
    for (uint8_t& flag : flags) flag = random() % 2;
    flags[random() % 6] = 1;
    Problems problems;
    EXPECT_EQ(parse(ranges_text(flags), problems), flags);
    EXPECT_TRUE(problems.empty());
  }
}

TEST(Ranges, folding_covers_every_head_once_and_keeps_kinds_apart) {
  CacheShape shape;
  shape.layers = 6;
  shape.kv_heads = 6;
  std::mt19937 random(4);
  for (int round = 0; round < 100; ++round) {
    std::vector<std::string> kinds(36);
    for (std::string& kind : kinds) kind = random() % 4 == 0 ? "" : random() % 3 == 0 ? "a" : "b";
    std::vector<int> covered(36, 0);
    for (const HeadRange& range : fold_heads(shape, [&](uint32_t i) { return kinds[i]; })) {
      Problems problems;
      const Flags layers = parse_ranges(range.layers, 6, "", "layers", problems);
      const Flags heads = parse_ranges(range.heads, 6, "", "heads", problems);
      uint32_t count = 0;
      for (uint32_t i = 0; i < 36; ++i) {
        if (layers[i / 6] == 0 || heads[i % 6] == 0) continue;
        ++covered[i];
        ++count;
        EXPECT_EQ(kinds[i], kinds[range.first]);
      }
      EXPECT_EQ(count, range.count);
    }
    for (size_t i = 0; i < 36; ++i) EXPECT_EQ(covered[i], kinds[i].empty() ? 0 : 1);
  }
}

TEST(Ranges, equal_heads_fold_into_one_line) {
  CacheShape shape;
  shape.layers = 4;
  shape.kv_heads = 2;
  const auto all = fold_heads(shape, [](uint32_t) { return "x"; });
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].layers, "*");
  EXPECT_EQ(all[0].heads, "*");
  const auto alternating = fold_heads(shape, [](uint32_t i) { return i / 2 % 2 ? "x" : "y"; });
  ASSERT_EQ(alternating.size(), 2u);
  EXPECT_EQ(alternating[0].layers, "0,2");
  EXPECT_EQ(alternating[1].layers, "1,3");
}

}  // namespace
}  // namespace skvis
