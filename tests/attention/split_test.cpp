// SPDX-License-Identifier: Apache-2.0
#include "attention/split.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace skvis {
namespace {

using testing::ElementsAre;

constexpr uint32_t kPageBytes = 64 * 2 * 64 * 2;

// The heads of a step with ragged budgets: how many pages each holds. Partials are of 8 pages, up
// to 32 in long tables, as attention has them.
struct Step {
  std::vector<uint32_t> pages;

  static uint32_t per_partial(uint32_t pages) { return std::clamp(pages / 32, 8u, 32u); }
  static uint32_t partials_of(uint32_t pages) {
    return (pages + per_partial(pages) - 1) / per_partial(pages);
  }

  // Budgets from 0.05 to 1 of `tokens`, spread as `random` has it, until there are `partials`.
  static Step ragged(std::mt19937& random, uint32_t tokens, size_t partials) {
    Step step;
    std::uniform_real_distribution<double> share(0.05, 1);
    // Every other step has many heads that keep little and a few that keep all, as profiles have.
    const bool skewed = random() % 2 == 0;
    for (size_t count = 0; count < partials;) {
      const double ratio = skewed ? 0.05 + 0.95 * std::pow(share(random), 4) : share(random);
      step.pages.push_back(std::max(1u, static_cast<uint32_t>(ratio * tokens / 64)));
      count += partials_of(step.pages.back());
    }
    return step;
  }
  std::vector<uint32_t> partials() const {
    std::vector<uint32_t> counts;
    for (const uint32_t each : pages) counts.push_back(partials_of(each));
    return counts;
  }
  void list_head(size_t head, std::vector<uint32_t>& bytes) const {
    const uint32_t each = per_partial(pages[head]);
    for (uint32_t left = pages[head]; left > 0; left -= std::min(each, left)) {
      bytes.push_back(std::min(each, left) * kPageBytes);
    }
  }
  std::vector<uint32_t> bytes() const {
    std::vector<uint32_t> all;
    for (size_t head = 0; head < pages.size(); ++head) list_head(head, all);
    return all;
  }
};

void expect_each_once(std::span<const uint32_t> borders, size_t items, uint32_t workers) {
  ASSERT_EQ(borders.size(), workers + 1);
  EXPECT_EQ(borders.front(), 0u);
  EXPECT_EQ(borders.back(), items);
  EXPECT_TRUE(std::is_sorted(borders.begin(), borders.end()));
}

TEST(Split, by_hand) {
  EXPECT_THAT(even_borders(std::vector<uint32_t>{1, 1, 1, 1}, 2), ElementsAre(0, 2, 4));
  EXPECT_THAT(even_borders(std::vector<uint32_t>{4, 1, 1, 1, 1}, 2), ElementsAre(0, 1, 5));
  const std::vector<uint32_t> five = {3, 3, 2, 2, 2};
  EXPECT_THAT(even_borders(five, 3), ElementsAre(0, 1, 3, 5));
  EXPECT_DOUBLE_EQ(imbalance(five, even_borders(five, 3)), 1.25);
}

TEST(Split, nothing_and_less_than_one_partial_a_worker) {
  EXPECT_THAT(even_borders({}, 3), ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(imbalance({}, std::vector<uint32_t>{0, 0, 0, 0}), 1);
  const std::vector<uint32_t> two = {5, 7};
  const auto borders = even_borders(two, 8);
  expect_each_once(borders, 2, 8);
  EXPECT_DOUBLE_EQ(imbalance(two, borders), 7.0 * 8 / 12);
  EXPECT_THAT(even_borders(std::vector<uint32_t>(3, 0), 2), ElementsAre(0, 3, 3));
}

// The smallest largest run of all splits, by dynamic programming.
uint64_t best_largest(const std::vector<uint32_t>& bytes, uint32_t workers) {
  const size_t n = bytes.size();
  std::vector<uint64_t> best(n + 1, UINT64_MAX);
  best[0] = 0;
  for (uint32_t worker = 0; worker < workers; ++worker) {
    std::vector<uint64_t> next(n + 1, UINT64_MAX);
    for (size_t end = 0; end <= n; ++end) {
      uint64_t run = 0;
      for (size_t first = end + 1; first-- > 0;) {
        if (first < end) run += bytes[first];
        if (best[first] != UINT64_MAX) next[end] = std::min(next[end], std::max(best[first], run));
      }
    }
    best = std::move(next);
  }
  return best[n];
}

TEST(Split, no_other_contiguous_split_has_a_smaller_largest_run) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint32_t> bytes(random() % 24);
    for (uint32_t& each : bytes) each = random() % 50;
    const uint32_t workers = 1 + random() % 6;
    const auto borders = even_borders(bytes, workers);
    expect_each_once(borders, bytes.size(), workers);
    const uint64_t total = std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
    if (total == 0) continue;
    EXPECT_DOUBLE_EQ(imbalance(bytes, borders), static_cast<double>(best_largest(bytes, workers)) *
                                                    workers / static_cast<double>(total));
  }
}

TEST(Split, ragged_budgets_are_balanced_to_a_tenth_with_16_partials_a_worker) {
  std::mt19937 random(2);
  double worst = 1;
  for (const uint32_t workers : {2u, 8u, 64u}) {
    for (const uint32_t tokens : {1024u, 4096u, 32768u, 131072u}) {
      for (int round = 0; round < 100; ++round) {
        const Step step = Step::ragged(random, tokens, size_t{16} * workers);
        const auto bytes = step.bytes();
        const auto borders = even_borders(bytes, workers);
        expect_each_once(borders, bytes.size(), workers);
        worst = std::max(worst, imbalance(bytes, borders));
        ASSERT_LE(imbalance(bytes, borders), 1.1) << workers << " workers, " << tokens << " tokens";
      }
    }
  }
  EXPECT_GT(worst, 1.01);  // and these are no easy cases
}

TEST(Split, the_table_is_made_anew_only_when_a_class_changes) {
  SplitTable table(2);
  Step step{{20, 3, 40}};
  const auto ask = [&] {
    const auto borders = table.borders(
        step.partials(), [&](size_t head, auto& bytes) { step.list_head(head, bytes); });
    return std::vector<uint32_t>(borders.begin(), borders.end());
  };
  const auto first = ask();
  EXPECT_EQ(first, even_borders(step.bytes(), 2));
  EXPECT_EQ(table.computed(), 1u);
  for (; step.pages[0] < 24; ++step.pages[0]) EXPECT_EQ(ask(), first);  // three partials of eight
  EXPECT_EQ(table.computed(), 1u);
  step.pages[0] = 25;
  ask();
  EXPECT_EQ(table.computed(), 2u);
  step.pages.push_back(1);  // another sequence joins
  ask();
  EXPECT_EQ(table.computed(), 3u);
  step.pages.pop_back();
  step.pages[0] = 24;
  EXPECT_EQ(ask(), even_borders(step.bytes(), 2));
}

// Pages as classes: every table is that of the step it is used in.
TEST(Split, finer_classes_follow_heads_as_they_grow) {
  std::mt19937 random(6);
  Step step = Step::ragged(random, 4096, 16 * 8);
  SplitTable table(8);
  for (int round = 0; round < 30; ++round) {
    for (uint32_t& pages : step.pages) pages += random() % 4 == 0 ? 1 : 0;
    const auto borders =
        table.borders(step.pages, [&](size_t head, auto& bytes) { step.list_head(head, bytes); });
    EXPECT_LE(imbalance(step.bytes(), borders), 1.1);
  }
}

// Budgets are shares, so a text of twice the length divides at the same heads.
TEST(Split, twice_the_length_is_split_at_the_same_places) {
  std::mt19937 random(3);
  for (const uint32_t workers : {2u, 8u, 64u}) {
    const Step step = Step::ragged(random, 4096, size_t{16} * workers);
    const auto bytes = step.bytes();
    const auto borders = even_borders(bytes, workers);
    std::vector<uint32_t> larger;  // as many partials of twice the bytes
    for (const uint32_t each : bytes) larger.push_back(2 * each);
    EXPECT_EQ(even_borders(larger, workers), borders);
    std::vector<uint32_t> longer;  // twice as many partials
    for (const uint32_t each : bytes) longer.insert(longer.end(), 2, each);
    EXPECT_LE(imbalance(longer, even_borders(longer, workers)), imbalance(bytes, borders) + 1e-12);
  }
}

}  // namespace
}  // namespace skvis
