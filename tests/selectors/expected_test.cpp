// SPDX-License-Identifier: Apache-2.0
// Expected attention and Q-Filters: keys judged by how queries are distributed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "selectors/selector.hpp"

namespace skvis {
namespace {

constexpr uint32_t kDim = 8;

struct Head {
  std::vector<uint32_t> positions;
  std::vector<float> keys, values, mean, covariance;
  RotaryTable rotary;

  Head(uint32_t rows, unsigned seed) : positions(rows) {
    std::iota(positions.begin(), positions.end(), 0u);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto draw = [&](std::vector<float>& to, size_t count) {
      for (size_t i = 0; i < count; ++i) to.push_back(normal(random));
    };
    draw(keys, rows * kDim);
    draw(values, rows * kDim);
    draw(mean, kDim);
    covariance.assign(kDim * (kDim + 1) / 2, 0.0f);
    rotary.inverse_frequency.assign(kDim / 2, 0.0);  // no rotation at all
  }
  std::vector<float> scores(const Settings& settings) const {
    std::vector<float> scores(positions.size(), NAN);
    const SelectorView view{.rows = static_cast<uint32_t>(positions.size()),
                            .tokens = static_cast<uint32_t>(positions.size()),
                            .positions = positions.data(),
                            .query_mean = mean.data(),
                            .query_covariance = covariance.data(),
                            .keys = {keys.data(), positions.size(), kDim, kDim},
                            .values = {values.data(), positions.size(), kDim, kDim},
                            .attention_scale = 1 / std::sqrt(8.0f),
                            .rotary = &rotary};
    find_selector("expected-attention")->score(settings, view, scores.data());
    return scores;
  }
  double along(uint32_t j, const std::vector<float>& direction) const {
    return std::inner_product(keys.begin() + j * kDim, keys.begin() + (j + 1) * kDim,
                              direction.begin(), 0.0);
  }
  double length(uint32_t j) const {
    double squares = 0;
    for (uint32_t c = 0; c < kDim; ++c) squares += std::pow(double{values[j * kDim + c]}, 2);
    return std::sqrt(squares);
  }
};

// Card: without spread and rotation it is the softmax of the mean query times the value's length.
TEST(Expected, without_spread_and_rotation_the_mean_query_decides) {
  const Head head(40, 3);
  const auto scores = head.scores({{"skip", 0}});
  double sum = 0;
  for (uint32_t j = 0; j < 40; ++j) sum += std::exp(head.along(j, head.mean) / std::sqrt(8.0));
  for (uint32_t j = 0; j < 40; ++j) {
    const double p = std::exp(head.along(j, head.mean) / std::sqrt(8.0)) / sum;
    EXPECT_NEAR(scores[j], p * head.length(j), 1e-6);
  }
}

TEST(Expected, spread_along_a_key_raises_its_score) {
  Head head(40, 4);
  std::fill(head.mean.begin(), head.mean.end(), 0.0f);
  head.covariance[0] = 4;  // queries vary along channel 0 alone
  const auto scores = head.scores({{"skip", 0}});
  double sum = 0;
  const auto x = [&](uint32_t j) { return 4 * std::pow(double{head.keys[j * kDim]}, 2) / 16; };
  for (uint32_t j = 0; j < 40; ++j) sum += std::exp(x(j));
  for (uint32_t j = 0; j < 40; ++j) {
    EXPECT_NEAR(scores[j], std::exp(x(j)) / sum * head.length(j), 1e-6);
  }
}

// Card: the mean rotation is not orthogonal, the fastest pair of channels all but vanishes.
TEST(Expected, fast_channels_do_not_count_over_a_long_future) {
  Head head(40, 5);
  head.rotary.inverse_frequency = {1.0, 0.0, 0.0, 0.0};
  std::fill(head.mean.begin(), head.mean.end(), 0.0f);
  head.mean[0] = 20;  // along the fast pair
  const auto scores = head.scores({{"skip", 0}, {"future", 512}});
  for (uint32_t j = 0; j < 40; ++j) EXPECT_NEAR(scores[j] / head.length(j), 1.0 / 40, 4e-3);
}

TEST(Expected, the_first_rows_score_highest_and_take_no_part_in_the_softmax) {
  const Head head(20, 6);
  const auto scores = head.scores({{"skip", 4}});
  const float highest = *std::max_element(scores.begin() + 4, scores.end());
  double sum = 0;
  for (uint32_t j = 4; j < 20; ++j) sum += scores[j] / head.length(j);
  EXPECT_NEAR(sum, 1, 1e-5);
  for (uint32_t j = 0; j < 4; ++j) EXPECT_EQ(scores[j], highest + 1);
}

TEST(QFilters, the_component_along_the_filter_is_the_score) {
  const Selector& selector = *find_selector("q-filters");
  NamedTensors data;
  data["q_filters"] = {{1, 2, 2}, {1, 0, 0, -1}};
  const CacheShape shape{.layers = 1, .query_heads = 2, .kv_heads = 2, .head_dim = 2};
  EXPECT_TRUE(selector.check_data(data, shape).ok());
  const std::vector<float> keys = {3, 5, -2, 7};
  std::vector<float> scores(2);
  for (uint32_t head = 0; head < 2; ++head) {
    const SelectorView view{
        .id = {0, head}, .rows = 2, .keys = {keys.data(), 2, 2, 2}, .data = &data};
    selector.score({}, view, scores.data());
    EXPECT_THAT(scores, head == 0 ? testing::ElementsAre(3, -2) : testing::ElementsAre(-5, -7));
  }
}

TEST(QFilters, data_of_another_shape_is_refused) {
  const Selector& selector = *find_selector("q-filters");
  const CacheShape shape{.layers = 3, .query_heads = 2, .kv_heads = 2, .head_dim = 2};
  NamedTensors data;
  EXPECT_FALSE(selector.check_data(data, shape).ok());
  data["q_filters"] = {{1, 2, 2}, {1, 0, 0, -1}};
  const auto refused = selector.check_data(data, shape);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, testing::HasSubstr("[3, 2, 2]"));
}

}  // namespace
}  // namespace skvis
