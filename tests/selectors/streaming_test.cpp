// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <vector>

#include "selection.hpp"
#include "selectors/selector.hpp"

namespace skvis {
namespace {

std::vector<float> streaming_scores(uint32_t rows) {
  std::vector<uint32_t> positions(rows);
  std::iota(positions.begin(), positions.end(), 0u);
  std::vector<float> scores(rows, -1);
  const SelectorView view{.rows = rows, .tokens = rows, .positions = positions.data()};
  find_selector("streaming")->score({}, view, scores.data());
  return scores;
}

TEST(Streaming, half_of_a_hundred_tokens_keeps_four_sinks_and_the_last_forty_six) {
  std::vector<uint32_t> expected = {0, 1, 2, 3};
  for (uint32_t i = 54; i < 100; ++i) expected.push_back(i);
  EXPECT_EQ(keep_best(streaming_scores(100), 50, 4, 0), expected);
}

TEST(Streaming, matches_the_independent_library_on_twelve_hundred_tokens) {
  std::vector<uint32_t> expected = {0, 1, 2, 3};
  for (uint32_t i = 604; i < 1200; ++i) expected.push_back(i);
  EXPECT_EQ(keep_best(streaming_scores(1200), 600, 4, 0), expected);
}

TEST(Streaming, needs_nothing_and_looks_at_no_later_query) {
  const Selector* streaming = find_selector("streaming");
  const SelectorNeeds needs = streaming->needs({});
  EXPECT_EQ(needs.observe, 0u);
  EXPECT_FALSE(needs.keys || needs.values || needs.totals || needs.query_moments);
  EXPECT_FALSE(streaming->sees_later_queries);
  EXPECT_EQ(streaming->horizon, Horizon::row);
}

TEST(Streaming, one_row_and_none_are_fine) {
  EXPECT_EQ(streaming_scores(1), std::vector<float>{0});
  EXPECT_TRUE(streaming_scores(0).empty());
}

TEST(SelectorRegistry, names_are_unique_complete_and_found) {
  for (const Selector* selector : selectors()) {
    EXPECT_EQ(find_selector(selector->name), selector);
    EXPECT_NE(selector->needs, nullptr);
    EXPECT_NE(selector->score, nullptr);
    EXPECT_FALSE(selector->summary.empty());
    for (const Parameter& parameter : selector->parameters) {
      EXPECT_GE(parameter.fallback, parameter.min) << parameter.name;
      EXPECT_LE(parameter.fallback, parameter.max) << parameter.name;
    }
  }
  EXPECT_EQ(find_selector("all"), nullptr);
  EXPECT_EQ(find_selector(""), nullptr);
}

}  // namespace
}  // namespace skvis
