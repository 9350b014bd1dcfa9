// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "scored_heads.hpp"

namespace skvis::testing {
namespace {

using ::testing::ElementsAre;
using Heads = ScoredHeads;

// Worked by hand from the published rule: two heads of four rows, half of them kept.
TEST(AdaBudget, rows_go_to_the_head_whose_scores_are_higher_beyond_the_safeguard) {
  Heads heads{.tokens = 4, .scores = {{.9f, .8f, .7f, .6f}, {.5f, .1f, .05f, .01f}}};
  heads.safeguard = 0;
  EXPECT_THAT(heads.ask("ada"), ElementsAre(4, 0));
  heads.safeguard = 0.5;
  EXPECT_THAT(heads.ask("ada"), ElementsAre(3, 1));
  heads.safeguard = 1;
  EXPECT_THAT(heads.ask("ada"), ElementsAre(2, 2));
}

TEST(AdaBudget, layers_do_not_share_but_with_cross_layer_they_do) {
  const Heads heads{.layers = 2,
                    .kv_heads = 1,
                    .safeguard = 0,
                    .tokens = 4,
                    .scores = {{9, 8, 7, 6}, {4, 3, 2, 1}}};
  EXPECT_THAT(heads.ask("ada"), ElementsAre(2, 2));
  EXPECT_THAT(heads.ask("cross-layer"), ElementsAre(4, 0));
}

TEST(AdaBudget, equal_scores_go_to_the_lower_head_and_the_sum_is_exact) {
  const Heads heads{.kv_heads = 3,
                    .safeguard = 0,
                    .tokens = 5,
                    .scores = {{1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}}};
  EXPECT_THAT(heads.ask("ada"), ElementsAre(5, 1, 0));  // 3 * int(2.5)
}

TEST(AdaBudget, fixed_rows_count_towards_the_amount_and_the_safeguard) {
  Heads heads{.safeguard = 0.5,
              .tokens = 10,
              .protected_rows = 3,
              .scores = {{9, 8, 7, 6, 5, 4, 3}, {2, 1, 1, 1, 1, 1, 1}},
              .fixed = {3, 3}};
  // Five rows each, ten in all, six of them fixed: four are left. int(2.5) rows are safe, and
  // fixed.
  EXPECT_THAT(heads.ask("ada"), ElementsAre(7, 3));
  heads.fixed = {8, 5};  // more than ten already: nothing can be given
  heads.scores = {{9, 8}, {7, 6, 5, 4, 3}};
  EXPECT_THAT(heads.ask("ada"), ElementsAre(8, 5));
}

TEST(AdaBudget, heads_that_keep_all_take_no_part) {
  const Heads heads{
      .safeguard = 0, .tokens = 4, .scores = {{}, {4, 3, 2, 1}}, .selectable = {0, 1}};
  EXPECT_THAT(heads.ask("ada"), ElementsAre(4, 2));
}

TEST(AdaBudget, without_scores_all_heads_count_as_alike) {
  const Heads heads{.tokens = 9};
  EXPECT_THAT(heads.ask("ada"), ElementsAre(4, 4));
}

// As a sequence grows, settles and locks what it kept: sums stay within the shares, heads within
// their bounds.
TEST(AdaBudget, counts_stay_within_shares_and_bounds_over_a_whole_sequence) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const std::string_view name : {"ada", "cross-layer"}) {
    for (const double safeguard : {0.0, 0.2, 1.0}) {
      Heads heads{.layers = 3,
                  .kv_heads = 2,
                  .amount = {AmountUnit::ratio, 0.37},
                  .safeguard = safeguard,
                  .protected_rows = 20};
      std::vector<uint32_t> locked(6, 0);
      uint32_t judged = 0;
      for (heads.tokens = 48; heads.tokens < 2000; heads.tokens += 48) {
        const uint32_t judged_end = heads.tokens - heads.protected_rows;
        heads.scores.assign(6, {});
        heads.fixed.assign(6, 0);
        for (size_t h = 0; h < 6; ++h) {
          heads.fixed[h] = locked[h] + heads.protected_rows;
          for (uint32_t row = judged; row < judged_end; ++row) {
            heads.scores[h].push_back(normal(random) + 0.3f * static_cast<float>(h));
          }
        }
        const auto counts = heads.ask(name);
        const auto bounds = heads.ask(name, Heads::bound);
        uint64_t most = 0;
        for (const uint32_t share : heads.ask(name, Heads::shares)) {
          most += std::max(share, heads.protected_rows);
        }
        EXPECT_LE(sum(counts), most);
        for (size_t h = 0; h < 6; ++h) {
          const uint32_t held =
              std::min<uint32_t>(std::max(counts[h], heads.fixed[h]),
                                 heads.fixed[h] + static_cast<uint32_t>(heads.scores[h].size()));
          EXPECT_EQ(held, counts[h]);
          EXPECT_LE(counts[h], bounds[h]);
          locked[h] = counts[h] - heads.protected_rows;
        }
        judged = judged_end;
      }
    }
  }
}

}  // namespace
}  // namespace skvis::testing
