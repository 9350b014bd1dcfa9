// SPDX-License-Identifier: Apache-2.0
// Budgets that read a score of each head: entropy groups and head classes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "budgets/budget.hpp"

namespace skvis {
namespace {

using testing::Each;
using testing::ElementsAre;
using Counts = std::vector<uint32_t>;

struct Scored {
  uint32_t layers = 1;
  uint32_t kv_heads = 4;
  Amount amount = {AmountUnit::ratio, 0.5};
  std::vector<double> scores = {};  // [layers * kv_heads]
  Settings settings = {};
  uint32_t protected_rows = 0;
  std::vector<uint8_t> selectable = {};  // empty: all
  std::vector<uint32_t> owner = {};

  Counts ask(std::string_view name, uint32_t tokens, bool bound = false) const {
    CacheShape shape;
    shape.layers = layers;
    shape.kv_heads = shape.query_heads = kv_heads;
    shape.window.assign(layers, 0);
    shape.owner = owner;
    const std::vector<uint8_t> all(layers * kv_heads, 1);
    const BudgetRequest request{.shape = &shape,
                                .amount = amount,
                                .settings = &settings,
                                .head_scores = scores,
                                .selectable = selectable.empty() ? all : selectable,
                                .tokens = tokens,
                                .protected_rows = protected_rows};
    Counts counts(layers * kv_heads);
    const Budget* budget = find_budget(name);
    (bound ? budget->upper_bound : budget->counts)(request, counts);
    return counts;
  }
};

uint64_t sum(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

// 32 heads in two groups of 16 and 112 tokens: 2,048 in all, 64 each.
TEST(EntropyBudget, the_published_capacities_of_two_groups) {
  Scored heads{.kv_heads = 32, .amount = {AmountUnit::tokens, 64}};
  heads.settings = {{"spread", 0.75}};
  for (int head = 0; head < 32; ++head) heads.scores.push_back(head % 2 == 0 ? 0.2 : 0.7);
  const Counts counts = heads.ask("entropy", 5000);
  EXPECT_EQ(sum(counts), 2048u);
  for (size_t head = 0; head < 32; ++head) EXPECT_EQ(counts[head], head % 2 == 0 ? 16u : 112u);
  heads.amount.value = 576;
  heads.settings = {};  // a third
  EXPECT_EQ(heads.ask("entropy", 5000)[0], 384u);
  EXPECT_EQ(heads.ask("entropy", 5000)[1], 768u);
}

TEST(EntropyBudget, the_published_capacities_of_four_groups) {
  Scored heads{.amount = {AmountUnit::tokens, 64}, .scores = {0.1, 0.9, 0.3, 0.6}};
  heads.settings = {{"groups", 4}, {"spread", 0.75}};
  EXPECT_THAT(heads.ask("entropy", 4096), ElementsAre(16, 112, 48, 80));
  heads.amount.value = 384;  // published: 128, 640, 298, 470
  heads.settings = {{"groups", 4}, {"spread", 2.0 / 3}};
  EXPECT_THAT(heads.ask("entropy", 4096), ElementsAre(128, 640, 299, 469));
}

TEST(EntropyBudget, votes_of_the_worked_example_make_the_first_two_heads_high) {
  const Scored heads{.scores = {1, 2.0 / 3, 1.0 / 3, 0}};
  EXPECT_THAT(heads.ask("entropy", 300), ElementsAre(200, 200, 100, 100));
}

TEST(EntropyBudget, equal_scores_put_the_lower_head_first_and_layers_stand_apart) {
  const Scored heads{.layers = 2, .kv_heads = 2, .scores = {0.5, 0.5, 0.1, 0.2}};
  EXPECT_THAT(heads.ask("entropy", 300), ElementsAre(200, 100, 100, 200));
}

TEST(EntropyBudget, heads_that_groups_do_not_divide_are_cut_alike_from_both_ends) {
  Scored heads{.kv_heads = 3, .scores = {0.2, 0.9, 0.5}};
  EXPECT_THAT(heads.ask("entropy", 300), ElementsAre(100, 200, 150));
  heads.settings = {{"groups", 64}};  // as many as heads
  EXPECT_THAT(heads.ask("entropy", 300), ElementsAre(100, 200, 150));
  heads.settings = {{"groups", 1}};
  EXPECT_THAT(heads.ask("entropy", 300), Each(150));
  Scored five{.kv_heads = 5, .scores = {5, 4, 3, 2, 1}};
  EXPECT_THAT(five.ask("entropy", 300), ElementsAre(200, 200, 150, 100, 100));
}

TEST(EntropyBudget, groups_move_apart_only_as_far_as_tokens_and_protected_rows_let_them) {
  Scored heads{.kv_heads = 2, .amount = {AmountUnit::ratio, 0.75}, .scores = {1, 0}};
  heads.settings = {{"spread", 1}};
  EXPECT_THAT(heads.ask("entropy", 400), ElementsAre(400, 200));
  heads.amount.value = 0.25;
  heads.protected_rows = 60;
  EXPECT_THAT(heads.ask("entropy", 400), ElementsAre(140, 60));
  EXPECT_THAT(heads.ask("entropy", 100), ElementsAre(25, 25));
  heads.amount = {AmountUnit::tokens, 100};
  EXPECT_THAT(heads.ask("entropy", 120), ElementsAre(120, 60));
}

TEST(EntropyBudget, random_heads_keep_the_amount_and_stay_within_a_bound_that_grows) {
  std::mt19937 random(11);
  const auto uniform = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  for (int round = 0; round < 60; ++round) {
    Scored heads{.layers = 2, .kv_heads = 1 + static_cast<uint32_t>(round % 9)};
    const bool ratio = round % 3 != 0;
    heads.amount = ratio ? Amount{AmountUnit::ratio, uniform(0.05, 1)}
                         : Amount{AmountUnit::tokens, std::floor(uniform(40, 700))};
    heads.settings = {{"groups", 1.0 + round % 6}, {"spread", uniform(0, 1)}};
    heads.protected_rows = static_cast<uint32_t>(uniform(0, 40));
    const uint32_t count = heads.layers * heads.kv_heads;
    for (uint32_t i = 0; i < count; ++i) heads.scores.push_back(uniform(0, 1));
    Counts most(count, 0), before(count, 0);
    for (uint32_t tokens = 0; tokens < 1500; ++tokens) {
      const Counts counts = heads.ask("entropy", tokens);
      const Counts bound = heads.ask("entropy", tokens, true);
      const double mean = std::min<double>(
          tokens, ratio ? std::floor(heads.amount.value * tokens) : heads.amount.value);
      const bool whole = ratio || tokens >= 2 * heads.amount.value;
      if (whole) {
        ASSERT_EQ(sum(counts), static_cast<uint64_t>(mean) * count) << round << " at " << tokens;
      } else {
        ASSERT_LE(sum(counts), static_cast<uint64_t>(mean) * count) << round << " at " << tokens;
      }
      for (uint32_t i = 0; i < count; ++i) {
        ASSERT_LE(counts[i], tokens);
        most[i] = std::max(most[i], counts[i]);
        ASSERT_GE(bound[i], most[i]) << round << " head " << i << " at " << tokens;
        ASSERT_GE(bound[i], before[i]) << round << " head " << i << " at " << tokens;
        ASSERT_LE(bound[i], most[i] + 2) << round << " head " << i << " at " << tokens;
      }
      before = bound;
    }
  }
}

TEST(ClassesBudget, the_best_heads_of_the_model_keep_every_row_the_others_what_is_protected) {
  Scored heads{
      .layers = 2, .kv_heads = 3, .scores = {0.1, 0.9, 0.4, 0.8, 0.2, 0.3}, .protected_rows = 36};
  EXPECT_THAT(heads.ask("classes", 1000), ElementsAre(36, 1000, 1000, 1000, 36, 36));
  EXPECT_EQ(heads.ask("classes", 1000, true), heads.ask("classes", 1000));
  EXPECT_THAT(heads.ask("classes", 20), Each(20));
  heads.settings = {{"retrieval", 0.25}};  // 1.5 heads are 2
  EXPECT_THAT(heads.ask("classes", 1000), ElementsAre(36, 1000, 36, 1000, 36, 36));
  heads.settings = {{"retrieval", 0}};
  EXPECT_THAT(heads.ask("classes", 1000), Each(36));
  heads.settings = {{"retrieval", 1}};
  EXPECT_THAT(heads.ask("classes", 1000), Each(1000));
}

TEST(ClassesBudget, equal_scores_choose_the_lower_head_and_heads_that_keep_all_do_not_count) {
  Scored heads{.scores = {0.5, 0.5, 0.5, 0.5}, .protected_rows = 10};
  EXPECT_THAT(heads.ask("classes", 100), ElementsAre(100, 100, 10, 10));
  heads.selectable = {0, 1, 1, 0};
  EXPECT_THAT(heads.ask("classes", 100), ElementsAre(100, 100, 10, 100));
}

TEST(ClassesBudget, layers_that_share_rows_repeat_their_owners_class) {
  const Scored heads{.layers = 3,
                     .kv_heads = 1,
                     .scores = {0.1, 0.5, 0.9},
                     .protected_rows = 10,
                     .owner = {0, 1, 0}};
  EXPECT_THAT(heads.ask("classes", 100), ElementsAre(10, 100, 10));
}

}  // namespace
}  // namespace skvis
