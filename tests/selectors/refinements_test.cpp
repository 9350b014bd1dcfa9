// SPDX-License-Identifier: Apache-2.0
// What plans may do to the scores of any selector: critical, spectral.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "selectors/selector.hpp"

namespace skvis {
namespace {

std::vector<float> refined(std::string_view name, std::vector<float> scores,
                           const Settings& settings, const std::vector<float>& norms = {},
                           uint32_t keep = 0, std::vector<uint8_t> droppable = {}) {
  droppable.resize(scores.size(), 1);
  std::vector<uint32_t> positions(scores.size());
  std::iota(positions.begin(), positions.end(), 0u);
  const SelectorView view{.rows = static_cast<uint32_t>(scores.size()),
                          .positions = positions.data(),
                          .droppable = droppable.data(),
                          .keep = keep,
                          .output_norms = norms.data()};
  find_refinement(name)->apply(settings, view, scores.data());
  return scores;
}

TEST(Critical, the_first_half_stays_and_values_decide_about_the_rest) {
  // Four of six stay: two by score, of the others those with the largest score times norm.
  const auto scores =
      refined("critical", {6, 5, 4, 3, 2, 1}, {{"smallest", 0}}, {1, 1, 1, 10, 1, 20}, 4);
  const float most = std::numeric_limits<float>::max();
  EXPECT_THAT(scores, testing::ElementsAre(most, most, 4, 30, 2, 20));
}

TEST(Critical, rows_that_may_not_go_count_in_the_first_half) {
  const auto scores = refined("critical", {6, 5, 4, 3, 2, 1}, {{"smallest", 0}}, {1, 1, 1, 1, 1, 1},
                              4, {1, 1, 1, 1, 0, 0});
  EXPECT_THAT(scores, testing::ElementsAre(6, 5, 4, 3, 2, 1));
}

TEST(Critical, values_of_equal_weight_change_nothing) {
  const std::vector<float> base = {0.3f, 0.1f, 0.25f, 0.05f, 0.2f};
  const auto scores = refined("critical", base, {}, {2, 2, 2, 2, 2}, 3);
  for (size_t a = 0; a < base.size(); ++a) {
    for (size_t b = 0; b < base.size(); ++b) {
      if (base[a] > base[b]) {
        EXPECT_GE(scores[a], scores[b]);
      }
    }
  }
}

// Card of AudioKV, test 1.
TEST(Spectral, no_blend_full_energy_and_constants_change_nothing) {
  const std::vector<float> x = {0.1f, 0.7f, 0.2f, 0.4f, 0.9f, 0.3f, 0.8f};
  EXPECT_EQ(refined("spectral", x, {{"blend", 0}}), x);
  EXPECT_THAT(refined("spectral", x, {{"energy", 1}}),
              testing::Pointwise(testing::FloatNear(1e-6), x));
  const std::vector<float> same(9, 0.5f);
  EXPECT_THAT(refined("spectral", same, {}), testing::Pointwise(testing::FloatNear(1e-6), same));
}

TEST(Spectral, the_sum_stays) {
  const std::vector<float> x = {0.1f, 0.3f, 0.2f, 0.9f, 0.7f, 0.9f, 0.3f};
  const auto smooth = refined("spectral", x, {{"fade", 0}, {"energy", 0.3}});
  EXPECT_NE(smooth, x);
  EXPECT_NEAR(std::accumulate(smooth.begin(), smooth.end(), 0.0),
              std::accumulate(x.begin(), x.end(), 0.0), 1e-5);
}

// Card, test 2.
TEST(Spectral, an_impulse_spreads_as_worked_out_by_hand) {
  std::vector<float> x(8, 0.0f);
  x[3] = 1;
  const std::vector<float> expected = {.0625f, -.0625f, .0625f, .9375f,
                                       .0625f, -.0625f, .0625f, -.0625f};
  EXPECT_THAT(refined("spectral", x, {{"fade", 0}, {"constant", 1}}),
              testing::Pointwise(testing::FloatNear(1e-6), expected));
}

// Card, test 3: the constant part holds 0.88 of the energy of 1..8.
TEST(Spectral, with_the_constant_counted_a_ramp_only_shrinks) {
  std::vector<float> x(8);
  std::iota(x.begin(), x.end(), 1.0f);
  const auto literal = refined("spectral", x, {{"fade", 0}, {"constant", 1}});
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(literal[i], 2.75 + 0.5 * static_cast<double>(i), 1e-5);
  }
  EXPECT_NE(refined("spectral", x, {{"fade", 0}, {"constant", 0}}), literal);
}

TEST(Spectral, odd_lengths_and_rows_that_stay_are_respected) {
  const auto scores =
      refined("spectral", {9, 1, 5, 2, 6, 9}, {{"fade", 0}}, {}, 0, {0, 1, 1, 1, 1, 0});
  EXPECT_EQ(scores.front(), 9);
  EXPECT_EQ(scores.back(), 9);
  EXPECT_TRUE(refined("spectral", {}, {}).empty());
  EXPECT_EQ(refined("spectral", {3}, {}), std::vector<float>{3});
}

}  // namespace
}  // namespace skvis
