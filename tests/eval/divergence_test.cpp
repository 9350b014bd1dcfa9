// SPDX-License-Identifier: Apache-2.0
#include "eval/divergence.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace skvis {
namespace {

TEST(Divergence, two_rows_worked_by_hand) {
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): sum p ln(p/q) = 1/2 ln 2 - 1/4 ln 2.
  const std::vector<float> p = {std::log(2.0f), 0, 0};
  const std::vector<float> q = {5, 5, 5 + std::log(2.0f)};
  const ReferenceRow reference = ReferenceRow::of(p);
  const RowLoss loss = row_loss(reference, q, 2);
  EXPECT_NEAR(loss.divergence, std::log(2.0) / 4, 1e-7);
  EXPECT_NEAR(loss.nll, std::log(2.0), 1e-7);
  EXPECT_NEAR(loss.probability, 0.5, 1e-7);
  EXPECT_FALSE(loss.same_best);
}

TEST(Divergence, a_row_from_itself_is_exactly_zero) {
  std::vector<float> logits;
  for (int i = 0; i < 1000; ++i) logits.push_back(std::sin(static_cast<float>(i)) * 20);
  const RowLoss loss = row_loss(ReferenceRow::of(logits), logits, 3);
  EXPECT_EQ(loss.divergence, 0);
  EXPECT_TRUE(loss.same_best);
}

TEST(Divergence, large_logits_do_not_overflow) {
  EXPECT_NEAR(log_sum_exp(std::vector<float>{1000, 1000}), 1000 + std::log(2.0), 1e-9);
  EXPECT_NEAR(log_sum_exp(std::vector<float>{-1000, -2000}), -1000, 1e-9);
}

}  // namespace
}  // namespace skvis
