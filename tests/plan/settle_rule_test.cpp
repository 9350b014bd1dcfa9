// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "plan/plan.hpp"

namespace skvis {
namespace {

TEST(SettleRule, a_step_lies_at_absolute_multiples) {
  const SettleRule rule{.step = 256};
  EXPECT_EQ(rule.next_after(0), 256u);
  EXPECT_EQ(rule.next_after(255), 256u);
  EXPECT_EQ(rule.next_after(256), 512u);
  EXPECT_EQ(rule.next_after(UINT32_MAX - 1), UINT32_MAX);
  EXPECT_FALSE(rule.is_grid_point(0));
  EXPECT_FALSE(rule.is_grid_point(255));
  EXPECT_TRUE(rule.is_grid_point(256));
  EXPECT_TRUE(rule.is_grid_point(1024));
}

TEST(SettleRule, a_list_ends) {
  const SettleRule rule{.step = 0, .positions = {16, 100, 101}};
  EXPECT_EQ(rule.next_after(0), 16u);
  EXPECT_EQ(rule.next_after(16), 100u);
  EXPECT_EQ(rule.next_after(100), 101u);
  EXPECT_EQ(rule.next_after(101), UINT32_MAX);
  EXPECT_TRUE(rule.is_grid_point(100));
  EXPECT_FALSE(rule.is_grid_point(99));
}

TEST(SettleRule, the_prompt_end_alone_is_no_grid) {
  const SettleRule rule{.step = 0, .at_prompt_end = true};
  EXPECT_EQ(rule.next_after(0), UINT32_MAX);
  EXPECT_FALSE(rule.is_grid_point(256));
}

TEST(SettleRule, the_next_point_is_the_first_grid_point_above) {
  const SettleRule rules[] = {{.step = 17}, {.step = 0, .positions = {16, 17, 40, 300}}};
  for (const SettleRule& rule : rules) {
    for (uint32_t position = 0; position < 400; ++position) {
      uint32_t next = position + 1;
      while (next < 500 && !rule.is_grid_point(next)) ++next;
      EXPECT_EQ(rule.next_after(position), next < 500 ? next : UINT32_MAX);
    }
  }
}

}  // namespace
}  // namespace skvis
