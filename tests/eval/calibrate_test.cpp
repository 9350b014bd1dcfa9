// SPDX-License-Identifier: Apache-2.0
#include "eval/calibrate.hpp"

#include <gmock/gmock.h>

#include "engine/engine_testing.hpp"
#include "eval/kept.hpp"

namespace skvis::testing {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

TEST(Spearman, of_the_same_order_is_one_and_of_the_reverse_minus_one) {
  EXPECT_DOUBLE_EQ(spearman(std::vector{1.0, 5.0, 7.0}, std::vector{0.1, 0.2, 90.0}), 1);
  EXPECT_DOUBLE_EQ(spearman(std::vector{1.0, 5.0, 7.0}, std::vector{3.0, 2.0, 1.0}), -1);
  EXPECT_DOUBLE_EQ(spearman(std::vector{1.0, 1.0}, std::vector{3.0, 2.0}), 1);  // nothing to order
}

// By hand: ranks 0 1.5 1.5 3 and 1 0 2 3; covariance 3, variances 4.5 and 5.
TEST(Spearman, equal_values_share_their_mean_rank) {
  EXPECT_NEAR(spearman(std::vector{1.0, 2.0, 2.0, 9.0}, std::vector{5.0, 4.0, 6.0, 7.0}),
              3 / std::sqrt(4.5 * 5), 1e-12);
}

TEST(BudgetProfile, mean_deviation_budget_and_price) {
  const HeadShares shares = {{0.2, 0.9}, {0.4, 0.9}};
  const BudgetProfile profile = profile_of(shares);
  EXPECT_THAT(profile.mean, ElementsAre(DoubleNear(0.3, 1e-12), DoubleNear(0.9, 1e-12)));
  EXPECT_THAT(profile.deviation, ElementsAre(DoubleNear(0.1, 1e-12), DoubleNear(0, 1e-12)));
  EXPECT_DOUBLE_EQ(profile.correlation_worst, 1);
  EXPECT_THAT(profile.budget(2), ElementsAre(DoubleNear(0.5, 1e-12), DoubleNear(0.9, 1e-12)));
  EXPECT_DOUBLE_EQ(profile.budget(20)[0], 1);  // clipped
  const BudgetPrice price = price_of(profile.budget(0), shares);
  EXPECT_NEAR(price.reserve, 1, 1e-12);
  EXPECT_NEAR(price.cut, 0.1 / 2.4, 1e-12);
  EXPECT_NEAR(price_of(profile.budget(2), shares).reserve, 1.4 / 1.2, 1e-12);
  EXPECT_NEAR(price_of(profile.budget(2), shares).cut, 0, 1e-12);
}

// On a real model: shares add up to the ratio, and the plan made of them keeps what it says.
TEST(Calibration, shares_add_up_to_the_ratio_and_become_the_counts_of_a_plan) {
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  const std::vector<std::vector<uint32_t>> samples = {ids, {ids.begin(), ids.begin() + 100}};
  for (const std::string budget : {"ada", "cross-layer"}) {
    const auto engine =
        tiny_engine({.plan = "snapkv:0.4 observe=8 safeguard=0 settle=prompt budget=" + budget});
    const auto shares = measure_shares(*engine, samples);
    ASSERT_TRUE(shares.ok()) << shares.error().message;
    const uint32_t heads = engine->plan().shape.heads();
    for (size_t i = 0; i < samples.size(); ++i) {
      const auto tokens = static_cast<double>(samples[i].size());
      const double fixed = engine->plan().sinks + engine->plan().protected_tail();
      double sum = 0;
      for (const double share : (*shares)[i]) sum += share;
      EXPECT_NEAR(sum / heads, (std::floor(0.4 * tokens) - fixed) / (tokens - fixed), 1e-9);
    }
    const auto table = profile_of(*shares).budget(1);
    EXPECT_NE(*std::min_element(table.begin(), table.end()),
              *std::max_element(table.begin(), table.end()));

    Json plan = calibrated_plan(engine->plan(), table);
    plan["settle"] = 32;
    const auto ragged = tiny_engine({.plan = dump_json(plan)});
    ASSERT_NE(ragged, nullptr);
    const auto count = static_cast<uint32_t>(ids.size() / 32 * 32);
    auto sequence = ragged->open_sequence(count, count);
    ASSERT_TRUE(sequence.ok());
    ASSERT_TRUE(ragged->read(*sequence, std::span(ids).first(count), 64, 0, {}).ok());
    const KeptRows kept = kept_rows(*sequence);
    for (uint32_t head = 0; head < heads; ++head) {
      const uint32_t fixed = ragged->plan().sinks + ragged->plan().protected_tail();
      EXPECT_EQ(kept[head].size(),
                fixed + static_cast<size_t>(std::round(table[head] * 1e4) / 1e4 * (count - fixed)))
          << head;
    }
  }
}

}  // namespace
}  // namespace skvis::testing
