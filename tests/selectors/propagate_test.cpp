// SPDX-License-Identifier: Apache-2.0
// How many rows go on, by the numbers of the cards.
#include <gtest/gtest.h>

#include "selectors/selector.hpp"

namespace skvis {
namespace {

TEST(Propagate, fastkv_lets_a_share_go_on_after_half_of_the_layers) {
  const Selector& fastkv = *find_selector("fastkv");
  for (uint32_t layer = 0; layer < 31; ++layer) {
    EXPECT_EQ(fastkv.propagate({}, layer, 32, 1000), layer < 15 ? 1000u : 200u);
  }
  // The paper's layers: 15 of 32, 17 of 36, 19 of 40.
  for (const uint32_t layers : {32u, 36u, 40u}) {
    EXPECT_EQ(fastkv.propagate({}, layers / 2 - 2, layers, 1000), 1000u);
    EXPECT_EQ(fastkv.propagate({}, layers / 2 - 1, layers, 1000), 200u);
  }
  EXPECT_EQ(fastkv.propagate({{"full_layers", 3}, {"rate", 0.5}}, 2, 32, 999), 499u);
  EXPECT_EQ(fastkv.propagate({{"full_layers", 3}, {"rate", 0.5}}, 1, 32, 999), 999u);
}

TEST(Propagate, uncomp_lets_fewer_go_on_from_stage_to_stage) {
  const Selector& uncomp = *find_selector("uncomp");
  // The layer before the first layer of each stage, of 32.
  const uint32_t before[] = {0, 1, 14, 25, 30};
  const uint32_t of_8192[] = {8192, 6528, 4864, 3200, 1536};
  const uint32_t of_4096[] = {4096, 3456, 2816, 2176, 1536};
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(uncomp.propagate({}, before[i], 32, 8192), of_8192[i]);
    EXPECT_EQ(uncomp.propagate({}, before[i], 32, 4096), of_4096[i]);
  }
  for (uint32_t layer = 0; layer < 31; ++layer) {
    EXPECT_EQ(uncomp.propagate({}, layer, 32, 1536), 1536u);
    EXPECT_LE(uncomp.propagate({}, layer + 1, 33, 5000), uncomp.propagate({}, layer, 33, 5000));
  }
}

}  // namespace
}  // namespace skvis
