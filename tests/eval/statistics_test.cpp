// SPDX-License-Identifier: Apache-2.0
#include "eval/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace skvis {
namespace {

TEST(Statistics, mean_and_standard_error_worked_by_hand) {
  // Deviations 3, 1, 1, 3: squares 20, over 3 and over 4.
  const Estimate sum = estimate(std::vector<double>{2, 4, 6, 8});
  EXPECT_DOUBLE_EQ(sum.mean, 5);
  EXPECT_DOUBLE_EQ(sum.error, std::sqrt(20.0 / 3 / 4));
  EXPECT_EQ(sum.count, 4u);
}

TEST(Statistics, error_of_one_value_is_unknown) {
  EXPECT_TRUE(std::isnan(estimate(std::vector<double>{3}).error));
  EXPECT_EQ(estimate(std::vector<double>{}).count, 0u);
}

TEST(Statistics, paired_difference_drops_what_both_have_in_common) {
  // 24 questions, 3 that only the first solves, 1 that only the second does: the difference is
  // 2/24, and its variance (4 - 4/24) / 23.
  std::vector<double> a(24, 1), b(24, 1);
  b[0] = b[5] = b[9] = 0;
  a[11] = 0;
  const Estimate difference = paired_difference(a, b);
  EXPECT_DOUBLE_EQ(difference.mean, 2.0 / 24);
  EXPECT_NEAR(difference.error, std::sqrt((4 - 4.0 / 24) / 23 / 24), 1e-12);
  EXPECT_LT(difference.error, estimate(b).error * 1.5);
}

TEST(Statistics, quantiles_lie_between_neighbours) {
  std::vector<double> values = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
  std::vector<double> one = {7};
  EXPECT_DOUBLE_EQ(quantile(one, 0.99), 7);
}

}  // namespace
}  // namespace skvis
