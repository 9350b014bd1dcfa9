// SPDX-License-Identifier: Apache-2.0
#include "budgets/budget.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

namespace skvis {
namespace {

// Everything a request points to.
struct World {
  CacheShape shape;
  std::vector<Amount> table;
  std::vector<uint32_t> row_bytes;
  std::vector<uint8_t> selectable;
  Amount amount;
  uint32_t tokens = 0;
  uint32_t protected_rows = 0;
  uint32_t exact_rows = 0;
  uint32_t exact_row_bytes = 0;

  World(uint32_t layers, uint32_t heads, uint32_t bytes)
      : row_bytes(layers * heads, bytes), selectable(layers * heads, 1) {
    shape.layers = layers;
    shape.kv_heads = heads;
    shape.query_heads = heads;
    shape.head_dim = 64;
    shape.window.assign(layers, 0);
  }
  BudgetRequest request() const {
    return {.shape = &shape,
            .amount = amount,
            .table = table,
            .row_bytes = row_bytes,
            .selectable = selectable,
            .tokens = tokens,
            .protected_rows = protected_rows,
            .exact_rows = exact_rows,
            .exact_row_bytes = exact_row_bytes,
            .scores = {}};
  }
  std::vector<uint32_t> counts(std::string_view budget) const {
    std::vector<uint32_t> counts(row_bytes.size(), 12345);
    find_budget(budget)->counts(request(), counts);
    return counts;
  }
  std::vector<uint32_t> bound(std::string_view budget) const {
    std::vector<uint32_t> counts(row_bytes.size(), 12345);
    find_budget(budget)->upper_bound(request(), counts);
    return counts;
  }
  // Bytes of all heads, sliding ones up to their window, written apart from the budget.
  uint64_t bytes(const std::vector<uint32_t>& counts) const {
    uint64_t sum = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      const uint32_t layer = static_cast<uint32_t>(i) / shape.kv_heads;
      if (!shape.owner.empty() && shape.owner[layer] != layer) continue;
      uint64_t rows = counts[i];
      if (shape.window[layer] != 0) rows = std::min<uint64_t>(rows, shape.window[layer]);
      for (uint64_t row = 0; row < rows; ++row)
        sum += row < exact_rows ? exact_row_bytes : row_bytes[i];
    }
    return sum;
  }
};

using Counts = std::vector<uint32_t>;

TEST(UniformBudget, a_ratio_rounds_down_and_leaves_other_heads_whole) {
  World world(2, 2, 100);
  world.amount = {AmountUnit::ratio, 0.25};
  world.tokens = 1203;
  world.selectable = {1, 0, 1, 1};
  EXPECT_EQ(world.counts("uniform"), (Counts{300, 1203, 300, 300}));
  EXPECT_EQ(world.bound("uniform"), world.counts("uniform"));
}

TEST(UniformBudget, ratios_of_one_keep_everything) {
  World world(1, 2, 100);
  world.amount = {AmountUnit::ratio, 1.0};
  for (const uint32_t tokens : {0u, 1u, 77u, 4000000000u}) {
    world.tokens = tokens;
    EXPECT_EQ(world.counts("uniform"), (Counts{tokens, tokens}));
  }
}

TEST(UniformBudget, tokens_are_per_head_and_capped_by_the_sequence) {
  World world(1, 3, 100);
  world.amount = {AmountUnit::tokens, 256};
  world.selectable = {1, 1, 0};
  world.tokens = 1000;
  EXPECT_EQ(world.counts("uniform"), (Counts{256, 256, 1000}));
  world.tokens = 100;
  EXPECT_EQ(world.counts("uniform"), (Counts{100, 100, 100}));
}

TEST(UniformBudget, bytes_pay_heads_that_keep_all_first_and_deal_out_the_rest_in_turn) {
  World world(1, 3, 10);
  world.row_bytes = {10, 20, 10};
  world.selectable = {1, 1, 0};
  world.tokens = 50;
  world.amount = {AmountUnit::bytes, 500 + 30 * 7 + 15};  // seven turns, one more row of head 0
  EXPECT_EQ(world.counts("uniform"), (Counts{8, 7, 50}));
  world.amount.value = 500 + 30 * 7 + 9;
  EXPECT_EQ(world.counts("uniform"), (Counts{7, 7, 50}));
  world.amount.value = 499;  // nothing is left
  EXPECT_EQ(world.counts("uniform"), (Counts{0, 0, 50}));
  world.amount.value = 1e300;
  EXPECT_EQ(world.counts("uniform"), (Counts{50, 50, 50}));
}

TEST(UniformBudget, bytes_charge_exact_rows_what_they_cost) {
  World world(1, 2, 10);
  world.tokens = 100;
  world.exact_rows = 4;
  world.exact_row_bytes = 40;
  world.amount = {AmountUnit::bytes, 2 * (4 * 40 + 6 * 10)};
  EXPECT_EQ(world.counts("uniform"), (Counts{10, 10}));
  world.amount.value = 2 * 3 * 40 + 45;
  EXPECT_EQ(world.counts("uniform"), (Counts{4, 3}));
}

TEST(UniformBudget, a_sliding_layer_costs_its_window_only) {
  World world(2, 1, 10);
  world.shape.window = {8, 0};
  world.selectable = {0, 1};
  world.tokens = 100;
  world.amount = {AmountUnit::bytes, 8 * 10 + 33 * 10};
  EXPECT_EQ(world.counts("uniform")[1], 33u);
}

TEST(UniformBudget, layers_that_share_rows_cost_once_and_repeat_the_counts) {
  World world(3, 1, 10);
  world.shape.owner = {0, 1, 0};
  world.tokens = 100;
  world.amount = {AmountUnit::bytes, 10 * 61};
  EXPECT_EQ(world.counts("uniform"), (Counts{31, 30, 31}));
}

World random_world(std::mt19937& random) {
  const auto pick = [&](uint32_t low, uint32_t high) {
    return std::uniform_int_distribution<uint32_t>(low, high)(random);
  };
  World world(pick(1, 5), pick(1, 4), 0);
  for (uint32_t& bytes : world.row_bytes) bytes = pick(4, 300);
  for (uint32_t layer = 0; layer < world.shape.layers; ++layer) {
    if (pick(0, 4) == 0) world.shape.window[layer] = pick(1, 64);
    for (uint32_t head = 0; head < world.shape.kv_heads; ++head) {
      const bool selects = world.shape.window[layer] == 0 && pick(0, 4) != 0;
      world.selectable[world.shape.index({layer, head})] = selects ? 1 : 0;
    }
  }
  world.exact_rows = pick(0, 40);
  world.exact_row_bytes = pick(100, 600);
  world.tokens = pick(0, 2000);
  return world;
}

TEST(UniformBudget, random_byte_budgets_are_spent_to_less_than_one_row_and_never_exceeded) {
  std::mt19937 random(1);
  size_t tight = 0;
  for (int round = 0; round < 3000; ++round) {
    World world = random_world(random);
    const uint64_t all = world.bytes(Counts(world.row_bytes.size(), world.tokens));
    world.amount = {AmountUnit::bytes,
                    static_cast<double>(std::uniform_int_distribution<uint64_t>(0, all)(random))};
    const Counts counts = world.counts("uniform");
    const uint64_t spent = world.bytes(counts);
    uint64_t whole = 0;
    uint32_t largest_row = world.exact_row_bytes;
    bool dropped = false;
    Counts without = counts;
    for (size_t i = 0; i < counts.size(); ++i) {
      ASSERT_LE(counts[i], world.tokens);
      if (world.selectable[i] == 0) {
        ASSERT_EQ(counts[i], world.tokens);
      } else {
        without[i] = 0;
        dropped = dropped || counts[i] < world.tokens;
      }
      largest_row = std::max(largest_row, world.row_bytes[i]);
    }
    whole = world.bytes(without);
    if (static_cast<double>(whole) > world.amount.value) {
      ASSERT_EQ(spent, whole);  // heads that keep all exceed it alone; the others hold nothing
      continue;
    }
    ASSERT_LE(static_cast<double>(spent), world.amount.value);
    if (dropped) {
      ASSERT_LT(world.amount.value - static_cast<double>(spent), largest_row);
      ++tight;
    }
  }
  EXPECT_GT(tight, 1000u);
}

TEST(UniformBudget, more_never_gives_a_head_less) {
  std::mt19937 random(2);
  for (int round = 0; round < 500; ++round) {
    World world = random_world(random);
    for (const AmountUnit unit : {AmountUnit::ratio, AmountUnit::tokens, AmountUnit::bytes}) {
      const double full = unit == AmountUnit::ratio    ? 1.0
                          : unit == AmountUnit::tokens ? 2000.0
                                                       : 3e6;
      Counts before(world.row_bytes.size(), 0);
      for (int step = 0; step <= 40; ++step) {
        world.amount = {unit, full * step / 40};
        const Counts counts = world.counts("uniform");
        for (size_t i = 0; i < counts.size(); ++i) ASSERT_GE(counts[i], before[i]);
        before = counts;
      }
    }
  }
}

TEST(UniformBudget, the_upper_bound_holds_for_every_shorter_sequence) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    World world = random_world(random);
    world.amount = {AmountUnit::bytes, std::uniform_real_distribution<double>(0, 2e6)(random)};
    const Counts bound = world.bound("uniform");
    const uint32_t tokens = world.tokens;
    Counts largest(bound.size(), 0);
    for (uint32_t shorter = 0; shorter <= tokens; ++shorter) {
      world.tokens = shorter;
      const Counts counts = world.counts("uniform");
      for (size_t i = 0; i < counts.size(); ++i) largest[i] = std::max(largest[i], counts[i]);
    }
    for (size_t i = 0; i < bound.size(); ++i) {
      ASSERT_GE(bound[i], largest[i]);
      ASSERT_LE(bound[i], largest[i] + 1);  // and is tight
    }
  }
}

TEST(TableBudget, every_head_keeps_its_own_amount) {
  World world(2, 2, 100);
  world.table = {{AmountUnit::ratio, 0.5},
                 {AmountUnit::tokens, 70},
                 {AmountUnit::ratio, 0.0},
                 {AmountUnit::tokens, 5000}};
  world.tokens = 1001;
  EXPECT_EQ(world.counts("table"), (Counts{500, 70, 0, 1001}));
  EXPECT_EQ(world.bound("table"), world.counts("table"));
  world.selectable[1] = 0;
  EXPECT_EQ(world.counts("table")[1], 1001u);
}

TEST(CalibratedBudget, the_table_is_a_share_of_the_rows_that_may_be_dropped) {
  World world(1, 3, 100);
  world.table = {{AmountUnit::ratio, 0.25}, {AmountUnit::ratio, 1.0}, {AmountUnit::ratio, 0.0}};
  world.protected_rows = 36;
  world.tokens = 1036;
  EXPECT_EQ(world.counts("calibrated"), (Counts{286, 1036, 36}));
  EXPECT_EQ(world.bound("calibrated"), world.counts("calibrated"));
  world.tokens = 20;
  EXPECT_EQ(world.counts("calibrated"), (Counts{20, 20, 20}));
  world.selectable = {0, 1, 1};
  world.tokens = 1036;
  EXPECT_EQ(world.counts("calibrated"), (Counts{1036, 1036, 36}));
}

TEST(BudgetRegistry, names_are_unique_complete_and_found) {
  for (const Budget* budget : budgets()) {
    EXPECT_EQ(find_budget(budget->name), budget);
    EXPECT_NE(budget->counts, nullptr);
    EXPECT_NE(budget->upper_bound, nullptr);
    EXPECT_FALSE(budget->summary.empty());
  }
  EXPECT_EQ(find_budget("unifrom"), nullptr);
}

}  // namespace
}  // namespace skvis
