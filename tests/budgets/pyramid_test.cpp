// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "budgets/budget.hpp"

namespace skvis {
namespace {

struct Pyramid {
  uint32_t layers = 32;
  Amount amount = {AmountUnit::ratio, 0.5};
  uint32_t protected_rows = 64;
  Settings settings = {};
  std::vector<uint8_t> selectable = {};  // [layers], one head each; empty: all

  std::vector<uint32_t> ask(bool bound, uint32_t tokens) const {
    CacheShape shape;
    shape.layers = layers;
    shape.kv_heads = shape.query_heads = 1;
    shape.window.assign(layers, 0);
    const std::vector<uint8_t> all(layers, 1);
    const BudgetRequest request{.shape = &shape,
                                .amount = amount,
                                .settings = &settings,
                                .selectable = selectable.empty() ? all : selectable,
                                .tokens = tokens,
                                .protected_rows = protected_rows};
    std::vector<uint32_t> counts(layers);
    const Budget* budget = find_budget("pyramid");
    (bound ? budget->upper_bound : budget->counts)(request, counts);
    return counts;
  }
  std::vector<uint32_t> counts(uint32_t tokens) const { return ask(false, tokens); }
};

uint64_t sum(const std::vector<uint32_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

// Figures of the published code (L = 32, beta = 20, window 64).
TEST(PyramidBudget, the_published_figures_for_a_half_of_4096) {
  const auto counts = Pyramid{}.counts(4096);
  EXPECT_EQ(counts.front(), 3994u);
  EXPECT_EQ(counts.back(), 102u);
  EXPECT_EQ(sum(counts), 65536u);
  EXPECT_TRUE(std::is_sorted(counts.rbegin(), counts.rend()));
}

TEST(PyramidBudget, the_published_figures_for_a_tenth_of_32768) {
  const Pyramid tenth{.amount = {AmountUnit::ratio, 0.1}};
  const auto counts = tenth.counts(32768);
  EXPECT_EQ(counts.front(), 6390u);
  // The published code rounds the last layer up as well: 164, and 104,859 rows where 32 times
  // 3276.8 allow 104,857.
  EXPECT_EQ(counts.back(), 163u);
  EXPECT_LE(sum(counts), 104857u);
  EXPECT_GE(sum(counts), 104857u - 16u);
}

TEST(PyramidBudget, small_amounts_fall_back_to_the_same_for_every_layer) {
  const Pyramid quarter{.amount = {AmountUnit::ratio, 0.25}};
  EXPECT_THAT(quarter.counts(4096), testing::Each(1024u));
  EXPECT_THAT(Pyramid{}.counts(10), testing::Each(5u));
  EXPECT_THAT(Pyramid{}.counts(0), testing::Each(0u));
}

TEST(PyramidBudget, only_layers_that_drop_rows_form_the_pyramid) {
  const Pyramid two{.layers = 4, .protected_rows = 0, .selectable = {0, 1, 0, 1}};
  EXPECT_THAT(two.counts(1000), testing::ElementsAre(1000, 975, 1000, 25));
  const Pyramid one{.layers = 2, .selectable = {1, 0}};
  EXPECT_THAT(one.counts(4096), testing::ElementsAre(2048, 4096));
}

TEST(PyramidBudget, counts_never_exceed_the_amount_or_the_bound_and_the_bound_grows) {
  for (const Amount amount : {Amount{AmountUnit::ratio, 0.33}, Amount{AmountUnit::ratio, 0.75},
                              Amount{AmountUnit::tokens, 700}}) {
    for (const uint32_t layers : {1u, 2u, 7u, 30u}) {
      const Pyramid pyramid{.layers = layers, .amount = amount, .settings = {{"beta", 7.5}}};
      std::vector<uint32_t> most(layers, 0), before(layers, 0);
      for (uint32_t tokens = 0; tokens < 3000; tokens += 13) {
        const auto counts = pyramid.counts(tokens);
        const double mean = amount.unit == AmountUnit::ratio ? amount.value * tokens : amount.value;
        EXPECT_LE(static_cast<double>(sum(counts)), layers * mean);
        const auto bound = pyramid.ask(true, tokens);
        for (uint32_t layer = 0; layer < layers; ++layer) {
          EXPECT_LE(counts[layer], tokens);
          most[layer] = std::max(most[layer], counts[layer]);
          EXPECT_GE(bound[layer], most[layer]) << layer << " at " << tokens;
          EXPECT_GE(bound[layer], before[layer]) << layer << " at " << tokens;
        }
        before = bound;
      }
    }
  }
}

}  // namespace
}  // namespace skvis
