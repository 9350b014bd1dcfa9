// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "selection.hpp"
#include "selectors/selector.hpp"

namespace skvis {
namespace {

struct Case {
  uint32_t group_size = 1;
  uint32_t observe = 2;
  std::vector<uint32_t> positions = {};
  std::vector<float> columns = {};  // [group_size, rows]
  uint32_t tokens = 0;              // 0: one more than the last position
  Settings settings = {};
};

std::vector<float> scores_of(const Case& test) {
  const auto rows = static_cast<uint32_t>(test.positions.size());
  const uint32_t tokens = test.tokens != 0 ? test.tokens
                          : rows != 0      ? test.positions.back() + 1
                                           : 0;
  std::vector<float> scores(rows, -1);
  const SelectorView view{.group_size = test.group_size,
                          .rows = rows,
                          .tokens = tokens,
                          .positions = test.positions.data(),
                          .columns = test.columns.data(),
                          .query_rows = std::min(test.observe, tokens)};
  find_selector("snapkv")->score(test.settings, view, scores.data());
  return scores;
}

std::vector<uint32_t> positions_up_to(uint32_t rows) {
  std::vector<uint32_t> positions(rows);
  std::iota(positions.begin(), positions.end(), 0u);
  return positions;
}

Settings settings(double kernel, double pool = 0, double group = 0) {
  return {{"observe", 2}, {"kernel", kernel}, {"pool", pool}, {"group", group}};
}

TEST(Snapkv, average_pooling_pads_with_zeros_that_count_in_the_divisor) {
  // Means over 2 queries: 3 0 6 0 | window. Pooled by 3: (0+3+0)/3, (3+0+6)/3, (0+6+0)/3, (6+0)/3.
  const std::vector<float> expected = {1, 3, 2, 2, 4, 4};
  EXPECT_EQ(scores_of({.positions = positions_up_to(6),
                       .columns = {6, 0, 12, 0, 100, 100},
                       .settings = settings(3)}),
            expected);
}

TEST(Snapkv, maximum_pooling_spreads_the_largest_neighbour) {
  const std::vector<float> expected = {3, 6, 6, 6, 7, 7};
  EXPECT_EQ(scores_of({.positions = positions_up_to(6),
                       .columns = {6, 0, 12, 0, 100, 100},
                       .settings = settings(3, 1)}),
            expected);
}

TEST(Snapkv, a_kernel_of_one_leaves_the_means) {
  const std::vector<float> expected = {3, 0, 6, 0, 7, 7};
  EXPECT_EQ(scores_of({.positions = positions_up_to(6),
                       .columns = {6, 0, 12, 0, 100, 100},
                       .settings = settings(1)}),
            expected);
}

TEST(Snapkv, a_kernel_wider_than_the_rows_still_divides_by_itself) {
  const std::vector<float> expected = {1, 1, 2, 2};
  EXPECT_EQ(
      scores_of(
          {.positions = positions_up_to(4), .columns = {12, 2, 9, 9}, .settings = settings(7)}),
      expected);
}

TEST(Snapkv, pools_each_query_head_before_it_reduces_the_group) {
  // Pooled maxima by 3: head 0 {4, 4, 0}, head 1 {0, 2, 2}.
  const Case base{.group_size = 2,
                  .positions = positions_up_to(5),
                  .columns = {8, 0, 0, 0, 0, /**/ 0, 0, 4, 0, 0}};
  Case mean = base;
  mean.settings = settings(3, 1, 0);
  EXPECT_EQ(scores_of(mean), (std::vector<float>{2, 3, 1, 4, 4}));  // mean first would give 2 2 1
  Case largest = base;
  largest.settings = settings(3, 1, 1);
  EXPECT_EQ(scores_of(largest), (std::vector<float>{4, 4, 2, 5, 5}));
}

TEST(Snapkv, the_window_is_found_by_position_where_rows_are_missing) {
  // 10 tokens, the last 2 observe: of the live rows only position 8 is in the window.
  const std::vector<float> expected = {1, 2, 3, 4};
  EXPECT_EQ(scores_of({.positions = {0, 3, 7, 8},
                       .columns = {2, 4, 6, 50},
                       .tokens = 10,
                       .settings = settings(1)}),
            expected);
}

TEST(Snapkv, texts_as_short_as_the_window_rank_all_rows_alike) {
  for (const uint32_t rows : {0u, 1u, 2u}) {
    const std::vector<float> scores = scores_of({.positions = positions_up_to(rows),
                                                 .columns = std::vector<float>(rows, 0.5f),
                                                 .settings = settings(5)});
    EXPECT_EQ(scores, std::vector<float>(rows, 1.0f));
  }
  const std::vector<float> scores =
      scores_of({.positions = positions_up_to(3), .columns = {1, 1, 1}, .settings = settings(5)});
  EXPECT_EQ(scores, (std::vector<float>{0.1f, 1.1f, 1.1f}));
}

TEST(Snapkv, damaged_sums_count_as_no_attention) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> scores = scores_of({.positions = positions_up_to(6),
                                               .columns = {nan, infinity, -infinity, 2, nan, nan},
                                               .settings = settings(1)});
  EXPECT_EQ(scores, (std::vector<float>{0, 0, 0, 1, 2, 2}));
  const std::vector<float> zeros = scores_of({.positions = positions_up_to(6),
                                              .columns = std::vector<float>(6, 0.0f),
                                              .settings = settings(5)});
  EXPECT_EQ(zeros, (std::vector<float>{0, 0, 0, 0, 1, 1}));
}

TEST(Snapkv, exchanging_query_heads_of_a_group_changes_nothing) {
  std::mt19937 random(7);
  std::exponential_distribution<float> mass(1.0f);
  const uint32_t rows = 300;
  Case test{.group_size = 2, .observe = 32, .positions = positions_up_to(rows)};
  test.columns.resize(2 * rows);
  for (float& column : test.columns) column = mass(random);
  Case swapped = test;
  std::rotate(swapped.columns.begin(), swapped.columns.begin() + rows, swapped.columns.end());
  for (const double pool : {0.0, 1.0}) {
    for (const double group : {0.0, 1.0}) {
      test.settings = swapped.settings = settings(5, pool, group);
      EXPECT_EQ(scores_of(test), scores_of(swapped));
    }
  }
}

TEST(Snapkv, permuting_kv_heads_permutes_their_scores) {
  std::mt19937 random(8);
  std::exponential_distribution<float> mass(1.0f);
  std::vector<Case> heads(4);
  for (Case& head : heads) {
    head = {.group_size = 3, .observe = 8, .positions = positions_up_to(50)};
    head.settings = settings(5);
    head.columns.resize(150);
    for (float& column : head.columns) column = mass(random);
  }
  std::vector<std::vector<float>> forward;
  for (const Case& head : heads) forward.push_back(scores_of(head));
  for (size_t i = heads.size(); i-- > 0;) EXPECT_EQ(scores_of(heads[i]), forward[i]);
  EXPECT_NE(forward[0], forward[1]);
}

TEST(Snapkv, a_needle_that_the_window_attends_to_is_kept_with_its_neighbours) {
  const uint32_t rows = 400;
  Case test{.observe = 32, .positions = positions_up_to(rows)};
  test.columns.assign(rows, 0.01f);
  test.columns[123] = 20.0f;
  test.settings = settings(5);
  const std::vector<uint32_t> kept = keep_best(scores_of(test), 60, 4, 32);
  for (uint32_t i = 121; i <= 125; ++i) {
    EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), i)) << i;
  }
  for (uint32_t i = 368; i < rows; ++i) {
    EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), i)) << i;
  }
}

TEST(Snapkv, equals_a_plain_convolution_on_random_rows) {
  std::mt19937 random(9);
  std::exponential_distribution<float> mass(1.0f);
  const uint32_t rows = 200;
  const uint32_t window = 16;
  Case test{.group_size = 3, .observe = window, .positions = positions_up_to(rows)};
  test.columns.resize(3 * rows);
  for (float& column : test.columns) column = mass(random);
  test.settings = settings(7);
  const std::vector<float> scores = scores_of(test);
  const auto judged = static_cast<int>(rows - window);
  for (int j = 0; j < judged; ++j) {
    double sum = 0;
    for (int g = 0; g < 3; ++g) {
      for (int offset = -3; offset <= 3; ++offset) {
        const int i = j + offset;
        if (i >= 0 && i < judged) sum += test.columns[static_cast<size_t>(g) * rows + i];
      }
    }
    EXPECT_NEAR(scores[j], sum / (7.0 * 3.0 * window), 1e-6);
  }
}

TEST(Snapkv, asks_for_the_columns_of_its_window_per_query_head) {
  const SelectorNeeds needs = find_selector("snapkv")->needs({{"observe", 16}});
  EXPECT_EQ(needs.observe, 16u);
  EXPECT_EQ(needs.reduce, GroupReduce::none);
}

}  // namespace
}  // namespace skvis
