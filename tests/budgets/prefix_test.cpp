// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "scored_heads.hpp"

namespace skvis::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// The published method's analytic case: of 100 tokens one layer attends to all alike, the other to
// 0.9^n. `total` rows in both together.
ScoredHeads flat_and_steep(uint32_t total) {
  ScoredHeads heads{.layers = 2,
                    .kv_heads = 1,
                    .amount = {AmountUnit::tokens, total / 2.0},
                    .tokens = 100,
                    .scores = {std::vector<float>(100, 0.01f), {}}};
  for (int n = 0; n < 100; ++n) heads.scores[1].push_back(std::pow(0.9f, static_cast<float>(n)));
  return heads;
}

TEST(PrefixBudget, the_analytic_case_of_a_flat_and_a_steep_layer) {
  EXPECT_THAT(flat_and_steep(100).ask("prefix"), ElementsAre(83, 17));
  EXPECT_THAT(flat_and_steep(60).ask("prefix"), ElementsAre(53, 7));
  EXPECT_THAT(flat_and_steep(20).ask("prefix"), ElementsAre(18, 2));
}

TEST(PrefixBudget, the_order_of_rows_and_the_scale_of_scores_do_not_matter) {
  ScoredHeads heads = flat_and_steep(100);
  std::shuffle(heads.scores[1].begin(), heads.scores[1].end(), std::mt19937(1));
  for (float& score : heads.scores[1]) score *= 1000;
  EXPECT_THAT(heads.ask("prefix"), ElementsAre(83, 17));
}

TEST(PrefixBudget, layers_that_are_alike_keep_the_same) {
  std::mt19937 random(3);
  std::vector<float> scores(200);
  for (float& score : scores) score = std::exponential_distribution<float>()(random);
  const ScoredHeads heads{.layers = 4,
                          .kv_heads = 1,
                          .amount = {AmountUnit::ratio, 0.3},
                          .tokens = 200,
                          .scores = {scores, scores, scores, scores}};
  EXPECT_THAT(heads.ask("prefix"), Each(60));
}

TEST(PrefixBudget, an_amount_for_everything_keeps_everything_even_rows_without_attention) {
  const ScoredHeads heads{.layers = 2,
                          .kv_heads = 1,
                          .amount = {AmountUnit::ratio, 1.0},
                          .tokens = 5,
                          .scores = {{1, 0, 0, 0, 0}, {2, 2, 0, 0, 0}}};
  EXPECT_THAT(heads.ask("prefix"), ElementsAre(5, 5));
}

TEST(PrefixBudget, layers_without_attention_are_flat_and_negative_scores_have_none) {
  const ScoredHeads heads{
      .layers = 2, .kv_heads = 1, .tokens = 4, .scores = {{-9, -1, -4, -5}, {0, 0, 0, 0}}};
  EXPECT_THAT(heads.ask("prefix"), ElementsAre(2, 2));
}

// Two heads a layer. Of layer 0 the best row of each head has 15 of 24, two have 20 of 24; of layer
// 1 one row of each has 6 of 24, two 12, three 18: 16 rows halved are 8, four pairs, 1 and 3.
TEST(PrefixBudget, heads_of_a_layer_keep_equally_many_of_their_own_best_rows) {
  const ScoredHeads heads{
      .layers = 2, .tokens = 4, .scores = {{9, 1, 1, 1}, {1, 4, 6, 1}, {3, 3, 3, 3}, {3, 3, 3, 3}}};
  EXPECT_THAT(heads.ask("prefix"), ElementsAre(1, 1, 3, 3));
}

TEST(PrefixBudget, fixed_rows_are_paid_first_and_heads_that_keep_all_take_no_part) {
  const ScoredHeads heads{.layers = 3,
                          .kv_heads = 1,
                          .tokens = 10,
                          .protected_rows = 3,
                          .scores = {{5, 0, 0, 0, 0, 0, 0}, {}, {1, 1, 1, 1, 1, 1, 1}},
                          .fixed = {3, 0, 3},
                          .selectable = {1, 0, 1}};
  // Ten rows in two layers, six of them fixed: one row has all attention of layer 0.
  EXPECT_THAT(heads.ask("prefix"), ElementsAre(4, 10, 6));
}

// Least share that any layer keeps, for every split of `total` rows over three layers.
double best_least_share(const std::vector<std::vector<float>>& scores, uint32_t total) {
  std::vector<std::vector<double>> mass;
  for (auto layer : scores) {
    std::sort(layer.begin(), layer.end(), std::greater<>());
    std::vector<double> sums = {0};
    for (const float score : layer) sums.push_back(sums.back() + score);
    for (double& sum : sums) sum /= sums.back();
    mass.push_back(std::move(sums));
  }
  double best = 0;
  const auto rows = static_cast<uint32_t>(scores[0].size());
  for (uint32_t a = 0; a <= std::min(rows, total); ++a) {
    for (uint32_t b = 0; b <= std::min(rows, total - a); ++b) {
      const uint32_t c = std::min(rows, total - a - b);
      best = std::max(best, std::min({mass[0][a], mass[1][b], mass[2][c]}));
    }
  }
  return best;
}

TEST(PrefixBudget, no_other_split_keeps_more_of_the_layer_that_keeps_least) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    ScoredHeads heads{.layers = 3, .kv_heads = 1, .tokens = 24, .scores = {{}, {}, {}}};
    for (size_t layer = 0; layer < 3; ++layer) {
      std::gamma_distribution<float> gamma(0.1f + static_cast<float>(layer), 1);
      for (int i = 0; i < 24; ++i) heads.scores[layer].push_back(gamma(random) + 1e-6f);
    }
    std::vector<uint32_t> before(3, 0);
    for (uint32_t tokens = 1; tokens <= 24; ++tokens) {
      heads.amount = {AmountUnit::tokens, static_cast<double>(tokens)};
      const auto counts = heads.ask("prefix");
      ASSERT_EQ(sum(counts), 3 * tokens);
      double least = 1;
      for (size_t layer = 0; layer < 3; ++layer) {
        ASSERT_GE(counts[layer], before[layer]);  // more never gives a layer less
        auto sorted = heads.scores[layer];
        std::sort(sorted.begin(), sorted.end(), std::greater<>());
        const double all = std::accumulate(sorted.begin(), sorted.end(), 0.0);
        const auto end = sorted.begin() + static_cast<ptrdiff_t>(counts[layer]);
        least = std::min(least, std::accumulate(sorted.begin(), end, 0.0) / all);
      }
      ASSERT_NEAR(least, best_least_share(heads.scores, 3 * tokens), 1e-9);
      before = counts;
    }
  }
}

// Three prompts of a conversation, each judged at its end; what was judged is locked.
TEST(PrefixBudget, counts_stay_within_shares_and_bounds_over_a_conversation) {
  std::mt19937 random(7);
  ScoredHeads heads{.layers = 3, .amount = {AmountUnit::ratio, 0.37}, .protected_rows = 20};
  std::vector<uint32_t> locked(6, 0);
  uint32_t judged = 0;
  for (heads.tokens = 300; heads.tokens < 2000; heads.tokens *= 2) {
    heads.scores.assign(6, {});
    heads.fixed.clear();
    for (size_t h = 0; h < 6; ++h) {
      heads.fixed.push_back(locked[h] + heads.protected_rows);
      std::gamma_distribution<float> gamma(0.05f + static_cast<float>(h / 2), 1);
      for (uint32_t row = judged; row < heads.tokens - heads.protected_rows; ++row) {
        heads.scores[h].push_back(gamma(random));
      }
    }
    const auto counts = heads.ask("prefix");
    const auto bounds = heads.ask("prefix", ScoredHeads::bound);
    EXPECT_EQ(sum(counts), sum(heads.ask("prefix", ScoredHeads::shares)));
    for (size_t h = 0; h < 6; ++h) {
      EXPECT_EQ(counts[h], counts[h / 2 * 2]);
      EXPECT_LE(counts[h], bounds[h]);
      locked[h] = counts[h] - heads.protected_rows;
    }
    judged = heads.tokens - heads.protected_rows;
  }
}

TEST(PrefixBudget, without_scores_all_layers_count_as_alike) {
  const ScoredHeads heads{.layers = 2, .tokens = 9};
  EXPECT_THAT(heads.ask("prefix"), Each(4));
}

}  // namespace
}  // namespace skvis::testing
