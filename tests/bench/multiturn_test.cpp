// SPDX-License-Identifier: Apache-2.0
#include "bench/multiturn.hpp"

#include <gtest/gtest.h>

#include "engine/engine.hpp"

namespace skvis::testing {
namespace {

TEST(Multiturn, figures_add_up_and_a_plan_that_drops_rows_admits_more) {
  auto engine = Engine::create(SKVIS_SOURCE_DIR "/models/tiny",
                               {.plan = "full", .kv_memory = size_t{64} << 20, .threads = 2});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  MultiturnBench options{.plans = {"full", "full snapkv:0.25 settle=128 observe=16 exact=16"},
                         .conversations = 8,
                         .turns = 2,
                         .context = 600,
                         .fresh = 8,
                         .answer = 8,
                         .full_sequences = 2};
  const auto report = bench_multiturn(**engine, options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const Json& full = (*report)["plans"][0];
  const Json& dropping = (*report)["plans"][1];
  EXPECT_EQ(full["sequences_admitted"], 2);
  EXPECT_GT(dropping["sequences_admitted"], 2);
  for (const Json& plan : {full, dropping}) {
    size_t parts = 0;
    for (const auto& [name, bytes] : plan["reservation"].items()) {
      if (name != "total") parts += bytes.get<size_t>();
    }
    EXPECT_EQ(plan["reservation"]["total"], parts);
    EXPECT_LE(plan["steady"]["used"], plan["steady"]["full_cache"]);
    EXPECT_EQ(plan["decode"]["steps"], 7);  // the first token comes with the prompt
    EXPECT_GT(plan["decode"]["tokens_per_second"], 0);
    // Prompts of both turns: what was not found again was read.
    const size_t prompts = 8 * (608 + 608 + 16);
    EXPECT_EQ(
        plan["whole"]["prompt_tokens"].get<size_t>() + plan["whole"]["reused_tokens"].get<size_t>(),
        prompts);
  }
  EXPECT_GT(dropping["whole"]["reused_tokens"], full["whole"]["reused_tokens"]);
}

}  // namespace
}  // namespace skvis::testing
