// SPDX-License-Identifier: Apache-2.0
// One model under several plans.
#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

constexpr const char* kAtPromptEnd = "int8 snapkv:0.3 observe=16 settle=prompt";

std::vector<uint32_t> tiny_ids() {
  return read_ids(source_path("models/tiny/ids.json"));
}

TEST(Plans, another_plan_over_the_same_model_computes_what_an_engine_of_its_own_does) {
  const auto ids = tiny_ids();
  const auto full = tiny_engine();
  for (const std::string plan : {"int4-hadamard settle=64", kAtPromptEnd}) {
    auto shared = full->with_plan(plan);
    ASSERT_TRUE(shared.ok()) << shared.error().message;
    EXPECT_EQ(&(*shared)->model(), &full->model());
    EXPECT_EQ(read_logits(**shared, ids, 64), read_logits(*tiny_engine({.plan = plan}), ids, 64));
  }
  EXPECT_EQ(full->plan().name, "full");
  EXPECT_EQ(read_logits(*full, ids, 64), read_logits(*tiny_engine(), ids, 64));
}

TEST(Plans, engines_that_share_a_model_share_one_budget_of_memory) {
  const auto full = tiny_engine();
  auto other = full->with_plan("int8");
  ASSERT_TRUE(other.ok());
  const PoolFigures before = full->pool().figures();
  {
    auto sequence = (*other)->open_sequence(100, 200);
    ASSERT_TRUE(sequence.ok());
    EXPECT_LT(full->pool().figures().free, before.free);
  }
  EXPECT_EQ(full->pool().figures(), before);
}

TEST(Plans, a_plan_that_is_wrong_leaves_the_engine_usable) {
  const auto full = tiny_engine();
  EXPECT_FALSE(full->with_plan("int9").ok());
  EXPECT_FALSE(read_logits(*full, std::vector<uint32_t>{1, 2, 3}, 1).empty());
}

}  // namespace
}  // namespace skvis::testing
