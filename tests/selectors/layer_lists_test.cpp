// SPDX-License-Identifier: Apache-2.0
// Selectors whose scores settling averages over the heads of a layer: tova, chunk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "selectors/selector.hpp"

namespace skvis {
namespace {

std::vector<float> scores_of(std::string_view name, const std::vector<uint32_t>& positions,
                             const std::vector<float>& columns, uint32_t query_rows,
                             const Settings& settings = {}) {
  std::vector<float> scores(positions.size(), -7);
  const SelectorView view{.rows = static_cast<uint32_t>(positions.size()),
                          .tokens = positions.empty() ? 0 : positions.back() + 1,
                          .positions = positions.data(),
                          .columns = columns.data(),
                          .query_rows = query_rows};
  find_selector(name)->score(settings, view, scores.data());
  return scores;
}

TEST(Tova, asks_for_the_newest_query_and_takes_its_probabilities_as_they_are) {
  const Selector& tova = *find_selector("tova");
  EXPECT_TRUE(tova.per_layer);
  const SelectorNeeds needs = tova.needs({});
  EXPECT_EQ(needs.observe, 1u);
  EXPECT_EQ(needs.reduce, GroupReduce::mean);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(scores_of("tova", {0, 1, 5, 6}, {.5f, nan, .25f, .1f}, 1),
              testing::ElementsAre(.5f, 0, .25f, .1f));
}

// Means over two queries 1 3 0 2 5 7, the window of the last two rows scores one more than all.
TEST(Chunk, rows_of_a_chunk_of_positions_share_the_mean_of_their_scores) {
  EXPECT_TRUE(find_selector("chunk")->per_layer);
  EXPECT_THAT(scores_of("chunk", {0, 1, 3, 4, 5, 6, 7}, {2, 6, 0, 4, 10, 99, 99}, 2,
                        {{"chunk", 3}, {"observe", 2}, {"kernel", 1}}),
              testing::ElementsAre(2, 2, 7 / 3.0f, 7 / 3.0f, 7 / 3.0f, 6, 6));
}

TEST(Chunk, no_row_and_one_row_are_fine) {
  EXPECT_TRUE(scores_of("chunk", {}, {}, 2).empty());
  EXPECT_EQ(scores_of("chunk", {0}, {3}, 1).size(), 1u);
}

}  // namespace
}  // namespace skvis
