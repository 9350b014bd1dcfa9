// SPDX-License-Identifier: Apache-2.0
// Selectors that judge by what all queries attended to: h2o, tree, ems.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "selectors/selector.hpp"

namespace skvis {
namespace {

// A head as settling shows it, with every row droppable and exact.
struct Head {
  uint32_t width = 2;
  std::vector<uint32_t> positions;
  std::vector<uint8_t> droppable;
  std::vector<uint8_t> exact;
  std::vector<float> totals, columns, keys, values;
  float state = 0;
  uint32_t tokens = 0;
  uint32_t keep = 0;

  explicit Head(uint32_t rows) : positions(rows), droppable(rows, 1), exact(rows, 1), tokens(rows) {
    std::iota(positions.begin(), positions.end(), 0u);
    totals.assign(rows, 0.0f);
    columns.assign(rows, 0.0f);
  }
  SelectorView view() {
    const size_t rows = positions.size();
    return {.rows = static_cast<uint32_t>(rows),
            .tokens = tokens,
            .positions = positions.data(),
            .droppable = droppable.data(),
            .exact = exact.data(),
            .keep = keep,
            .columns = columns.data(),
            .query_rows = 1,
            .totals = totals.data(),
            .keys = {keys.data(), rows, width, width},
            .values = {values.data(), rows, width, width},
            .head_state = &state};
  }
  std::vector<float> scores(const Selector& selector, const Settings& settings = {}) {
    std::vector<float> scores(positions.size(), NAN);
    selector.score(settings, view(), scores.data());
    return scores;
  }
};

// Card, section 2: uniform causal attention A[i, j] = 1 / (i + 1) over four tokens.
TEST(H2o, uniform_attention_still_favours_old_rows_but_less) {
  Head head(4);
  for (uint32_t j = 0; j < 4; ++j) {
    for (uint32_t i = j; i < 4; ++i) head.totals[j] += 1.0f / static_cast<float>(i + 1);
  }
  using testing::ElementsAre;
  using testing::FloatNear;
  const Selector& h2o = *find_selector("h2o");
  EXPECT_THAT(head.scores(h2o, {{"normalise", 0}}),
              ElementsAre(FloatNear(2.083f, 1e-3), FloatNear(1.083f, 1e-3), FloatNear(0.583f, 1e-3),
                          FloatNear(0.25f, 1e-3)));
  EXPECT_THAT(head.scores(h2o), ElementsAre(FloatNear(0.521f, 1e-3), FloatNear(0.361f, 1e-3),
                                            FloatNear(0.292f, 1e-3), FloatNear(0.25f, 1e-3)));
  EXPECT_EQ(h2o.horizon, Horizon::prompt);
  EXPECT_EQ(find_selector("h2o-grid")->horizon, Horizon::grid);
}

// A stream of tokens through the competition, one grid point per token; rows get attention from
// `given`.
class TreeStream {
 public:
  explicit TreeStream(uint32_t capacity) : capacity_(capacity) {}

  template <typename Given>
  void read(uint32_t tokens, Given&& given) {
    const Selector& tree = *find_selector("tree");
    for (; next_ < tokens; ++next_) {
      positions_.push_back(next_);
      totals_.push_back(0);
      for (size_t j = 0; j < positions_.size(); ++j) totals_[j] += given(positions_[j]);
      Head head(static_cast<uint32_t>(positions_.size()));
      head.positions = positions_;
      head.totals = totals_;
      head.tokens = next_ + 1;
      head.keep = capacity_;
      head.state = pointer_;
      std::vector<float> scores = head.scores(tree);
      tree.rerank({}, head.view(), scores.data());
      pointer_ = head.state;
      std::vector<uint32_t> positions;
      std::vector<float> totals;
      for (size_t j = 0; j < scores.size(); ++j) {
        if (scores[j] == -std::numeric_limits<float>::infinity()) continue;
        positions.push_back(positions_[j]);
        totals.push_back(totals_[j]);
      }
      positions_ = positions;
      totals_ = totals;
      ASSERT_LE(positions_.size(), capacity_);
    }
  }
  const std::vector<uint32_t>& positions() const { return positions_; }

 private:
  uint32_t capacity_;
  uint32_t next_ = 0;
  float pointer_ = 0;
  std::vector<uint32_t> positions_;
  std::vector<float> totals_;
};

// Card, test 1.
TEST(Tree, equal_rows_leave_the_published_trace) {
  TreeStream stream(8);
  const auto nothing = [](uint32_t) { return 0.0f; };
  using testing::ElementsAre;
  stream.read(16, nothing);
  EXPECT_THAT(stream.positions(), ElementsAre(1, 3, 5, 7, 9, 11, 13, 15));
  stream.read(24, nothing);
  EXPECT_THAT(stream.positions(), ElementsAre(3, 7, 11, 15, 17, 19, 21, 23));
  stream.read(32, nothing);
  EXPECT_THAT(stream.positions(), ElementsAre(7, 15, 19, 23, 25, 27, 29, 31));
}

// Card, test 2: whatever the scores, density halves with every sweep.
TEST(Tree, the_density_law_holds_for_any_scores) {
  const std::vector<std::vector<uint32_t>> laws = {
      {64}, {32, 32}, {16, 16, 32}, {8, 8, 16, 32}, {4, 4, 8, 16, 32}};
  for (unsigned seed = 0; seed < 3; ++seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform;
    TreeStream stream(64);
    for (uint32_t sweeps = 1; sweeps <= laws.size(); ++sweeps) {
      stream.read(64 * (sweeps + 1), [&](uint32_t) { return uniform(random); });
      std::vector<uint32_t> counts(laws[sweeps - 1].size(), 0);
      for (const uint32_t position : stream.positions()) {
        ++counts[position < 128 ? 0 : position / 64 - 1];
      }
      EXPECT_EQ(counts, laws[sweeps - 1]) << sweeps << " sweeps, seed " << seed;
    }
  }
}

// Card, test 3.
TEST(Tree, a_row_with_ten_times_the_attention_survives_every_sweep) {
  TreeStream stream(16);
  stream.read(200, [](uint32_t position) { return position == 5 ? 1.0f : 0.1f; });
  EXPECT_THAT(stream.positions(), testing::Contains(5u));
}

// Card, test 4: means compete, not sums.
TEST(Tree, an_old_row_with_a_larger_sum_and_a_smaller_mean_goes) {
  Head head(2);
  head.positions = {0, 99};
  head.tokens = 100;
  head.totals = {5.0f, 0.2f};
  head.keep = 1;
  const Selector& tree = *find_selector("tree");
  std::vector<float> scores = head.scores(tree);
  tree.rerank({}, head.view(), scores.data());
  EXPECT_EQ(scores[0], -std::numeric_limits<float>::infinity());
  EXPECT_GT(scores[1], 0);
}

TEST(Tree, rows_that_may_not_go_do_not_compete) {
  Head head(10);
  for (const uint32_t j : {0u, 1u, 8u, 9u}) head.droppable[j] = 0;
  head.keep = 6;
  const Selector& tree = *find_selector("tree");
  std::vector<float> scores = head.scores(tree);
  tree.rerank({}, head.view(), scores.data());
  EXPECT_EQ(std::count(scores.begin(), scores.end(), -std::numeric_limits<float>::infinity()), 4);
  for (const uint32_t j : {0u, 1u, 8u, 9u}) EXPECT_EQ(scores[j], 0);
}

// EMS over rows with given scores: totals such that score == given (mean alignment off).
class Ems : public ::testing::Test {
 protected:
  static Head head_of(const std::vector<float>& scores, std::vector<std::array<float, 2>> keys,
                      std::vector<std::array<float, 2>> values) {
    Head head(static_cast<uint32_t>(scores.size()));
    for (uint32_t j = 0; j < scores.size(); ++j) {
      head.totals[j] = scores[j] * static_cast<float>(head.tokens - j);
      for (uint32_t c = 0; c < 2; ++c) head.keys.push_back(keys[j][c]);
      for (uint32_t c = 0; c < 2; ++c) head.values.push_back(values[j][c]);
    }
    return head;
  }
  static std::vector<Merge> merges(Head& head, const std::vector<uint32_t>& kept,
                                   Settings settings = {{"mass", 1}}) {
    const auto scores = head.scores(ems(), settings);
    return ems().merge(settings, head.view(), scores.data(), kept);
  }
  static const Selector& ems() { return *find_selector("ems"); }
};

TEST_F(Ems, the_recent_score_is_scaled_to_the_mean_of_the_global_one) {
  Head head(4);
  head.totals = {4, 3, 2, 1};  // means 1, 1, 1, 1
  head.columns = {0, 0, 0, 3};
  const auto once = head.scores(ems());
  EXPECT_THAT(once, testing::ElementsAre(1, 1, 1, 4));
  for (float& column : head.columns) column *= 1000;
  EXPECT_EQ(head.scores(ems()), once);
  EXPECT_THAT(head.scores(ems(), {{"combine", 1}}), testing::ElementsAre(1, 1, 1, 5));
}

TEST_F(Ems, members_of_a_class_are_weighted_by_their_scores_and_the_length_stays) {
  Head head = head_of({3, 1}, {{2, 0}, {0, 1}}, {{1, 0}, {1, 1}});
  const auto found = merges(head, {0}, {{"mass", 1}, {"similar", 0}});
  ASSERT_EQ(found.size(), 2u);
  std::array<float, 2> key = {0, 0}, value = {0, 0};
  for (const Merge& merge : found) {
    EXPECT_EQ(merge.target, 0u);
    for (uint32_t c = 0; c < 2; ++c) {
      key[c] += merge.key_weight * head.keys[merge.row * 2 + c];
      value[c] += merge.value_weight * head.values[merge.row * 2 + c];
    }
  }
  EXPECT_NEAR(value[0], 1, 1e-6);
  EXPECT_NEAR(value[1], 0.25, 1e-6);
  EXPECT_NEAR(std::hypot(key[0], key[1]), 2, 1e-6);  // the centre's length
  EXPECT_NEAR(key[1] / key[0], 1.0 / 3, 1e-6);       // 3 parts (1, 0), one part (0, 1)
}

TEST_F(Ems, an_unlike_row_falls_into_the_zero_class) {
  Head head = head_of({3, 1}, {{2, 0}, {2, 0}}, {{1, 0}, {1, 0}});
  EXPECT_EQ(merges(head, {0}).size(), 2u);  // alike
  EXPECT_TRUE(merges(head, {0}, {{"mass", 1}, {"similar", 1.01}}).empty());
}

// Card, test 3: the product of two negative cosines must not count as likeness.
TEST_F(Ems, opposite_rows_are_not_alike) {
  Head head = head_of({3, 1}, {{2, 0}, {-2, 0}}, {{1, 0}, {-1, 0}});
  EXPECT_TRUE(merges(head, {0}).empty());
}

TEST_F(Ems, rows_in_codes_are_no_targets) {
  Head head = head_of({3, 1}, {{2, 0}, {2, 0}}, {{1, 0}, {1, 0}});
  head.exact[0] = 0;
  EXPECT_TRUE(merges(head, {0}).empty());
}

TEST_F(Ems, only_rows_within_the_mass_merge) {
  // Centres hold 6 of 10; up to 0.75 of all score, one more row merges.
  Head head =
      head_of({6, 2, 1, 1}, {{1, 0}, {1, 0}, {1, 0}, {1, 0}}, {{1, 0}, {1, 0}, {1, 0}, {1, 0}});
  EXPECT_EQ(merges(head, {0}, {{"mass", 0.75}}).size(), 2u);
  EXPECT_EQ(merges(head, {0}, {{"mass", 0.85}}).size(), 3u);
  EXPECT_TRUE(merges(head, {0}, {{"mass", 0.5}}).empty());
  EXPECT_EQ(merges(head, {0}, {{"mass", 1}, {"most", 2}}).size(), 3u);
}

}  // namespace
}  // namespace skvis
