// SPDX-License-Identifier: Apache-2.0
// Selectors that look at keys (and values) alone: knorm, keydiff, lagkv.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "selection.hpp"
#include "selectors/selector.hpp"

namespace skvis {
namespace {

using Rows = std::vector<std::vector<float>>;

std::vector<float> scores_of(std::string_view name, const Rows& keys, const Rows& values = {},
                             const Settings& settings = {}) {
  const size_t width = keys.empty() ? 8 : keys[0].size();
  std::vector<float> k, v;
  for (const auto& row : keys) k.insert(k.end(), row.begin(), row.end());
  for (const auto& row : values) v.insert(v.end(), row.begin(), row.end());
  std::vector<uint32_t> positions(keys.size());
  std::iota(positions.begin(), positions.end(), 0u);
  std::vector<float> scores(keys.size(), NAN);
  const SelectorView view{.rows = static_cast<uint32_t>(keys.size()),
                          .tokens = static_cast<uint32_t>(keys.size()),
                          .positions = positions.data(),
                          .keys = {k.data(), keys.size(), width, width},
                          .values = {v.data(), values.size(), width, width}};
  find_selector(name)->score(settings, view, scores.data());
  return scores;
}

Rows random_rows(size_t rows, size_t width, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Rows all(rows, std::vector<float>(width));
  for (auto& row : all) {
    for (float& x : row) x = normal(random);
  }
  return all;
}

TEST(Knorm, the_score_is_the_negative_norm) {
  EXPECT_THAT(scores_of("knorm", {{3, 4}, {0, 0}, {-1, 0}}), testing::ElementsAre(-5, 0, -1));
}

TEST(Keydiff, the_one_key_that_is_orthogonal_to_all_others_scores_highest) {
  Rows keys(9, {2, 0});
  keys[4] = {0, 3};
  const auto scores = scores_of("keydiff", keys);
  for (size_t j = 0; j < keys.size(); ++j) {
    if (j != 4) {
      EXPECT_GT(scores[4], scores[j]);
    }
  }
  // The anchor is (8, 1) / 9: lengths do not count.
  EXPECT_NEAR(scores[0], -8 / std::sqrt(65.0), 1e-6);
  EXPECT_NEAR(scores[4], -1 / std::sqrt(65.0), 1e-6);
}

TEST(Keydiff, keys_without_a_direction_score_zero) {
  EXPECT_THAT(scores_of("keydiff", {{1, 0}, {0, 0}}), testing::ElementsAre(-1, 0));
  EXPECT_THAT(scores_of("keydiff", {{0, 0}, {0, 0}}), testing::ElementsAre(0, 0));
}

// The definition, step by step, with lag 2 and no first rows to skip: partitions {0, 1} and {2, 3}.
TEST(Lagkv, a_row_is_ranked_by_its_spread_on_the_scale_of_the_next_partition) {
  const Rows keys = {{0, 1}, {0, 4}, {0, 0}, {2, 2}};  // ranges of the next: 2 and 2
  const Rows values = {{1, 1}, {1, 1}, {0, 0}, {1, 1}};
  // u of row 0: 0, 0.5; of row 1: 0, 2. Row 1 spreads more; values decide nothing.
  EXPECT_THAT(scores_of("lagkv", keys, values, {{"lag", 2}, {"skip", 0}}),
              testing::ElementsAre(0, 0.5f, 1, 1));
  // Values that spread more turn it round: softmaxes are averaged.
  const Rows wild = {{90, -90}, {1, 1}, {0, 0}, {1, 1}};
  EXPECT_THAT(scores_of("lagkv", keys, wild, {{"lag", 2}, {"skip", 0}}),
              testing::ElementsAre(0.5f, 0, 1, 1));
}

TEST(Lagkv, every_judged_partition_loses_the_same_share) {
  const auto scores = scores_of("lagkv", random_rows(4 + 5 * 128 + 30, 16, 1),
                                random_rows(4 + 5 * 128 + 30, 16, 2));
  for (size_t p = 0; p < 4; ++p) {
    std::vector<float> partition(scores.begin() + 4 + p * 128, scores.begin() + 4 + (p + 1) * 128);
    std::sort(partition.begin(), partition.end());
    for (size_t i = 0; i < 128; ++i) EXPECT_EQ(partition[i], static_cast<float>(i) / 128);
  }
  for (size_t j = 0; j < scores.size(); ++j) {
    if (j < 4 || j >= 4 + 4 * 128) {
      EXPECT_EQ(scores[j], 1) << j;
    }
  }
}

TEST(Lagkv, texts_of_less_than_two_partitions_keep_their_newest_rows) {
  const Rows rows = random_rows(4 + 255, 8, 3);
  const auto scores = scores_of("lagkv", rows, rows);
  EXPECT_TRUE(std::is_sorted(scores.begin(), scores.end()));
}

TEST(Lagkv, channels_that_never_change_are_no_division_by_zero) {
  const Rows rows(300, std::vector<float>(8, 2.5f));
  for (const float score : scores_of("lagkv", rows, rows)) EXPECT_TRUE(std::isfinite(score));
}

TEST(KeySelectors, no_row_and_one_row_are_fine_and_scores_are_numbers) {
  for (const std::string_view name : {"knorm", "keydiff", "lagkv"}) {
    for (const size_t rows : {0, 1, 2, 300}) {
      Rows keys = random_rows(rows, 8, 4);
      if (rows > 1) keys[1].assign(8, 0.0f);
      for (const float score : scores_of(name, keys, keys)) EXPECT_TRUE(std::isfinite(score));
    }
  }
}

}  // namespace
}  // namespace skvis
