// SPDX-License-Identifier: Apache-2.0
#include "engine/generation.hpp"

#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

TEST(StopMatcher, holds_back_what_might_become_a_stop_text) {
  StopMatcher stops({"END", "###"});
  EXPECT_EQ(stops.push("abcE"), "abc");
  EXPECT_EQ(stops.push("Nx"), "ENx");
  EXPECT_EQ(stops.push("y##"), "y");
  EXPECT_EQ(stops.push("#z"), "");
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.flush(), "");
}

TEST(StopMatcher, shows_the_stop_text_where_it_shall) {
  StopMatcher stops({"END", "NDX"}, true);
  EXPECT_EQ(stops.push("abcEN"), "abc");
  EXPECT_EQ(stops.push("DX"), "END");
  EXPECT_TRUE(stops.stopped());
  EXPECT_EQ(stops.flush(), "");
}

TEST(StopMatcher, gives_back_what_it_held_when_the_answer_ends) {
  StopMatcher stops({"END"});
  EXPECT_EQ(stops.push("the EN"), "the ");
  EXPECT_EQ(stops.flush(), "EN");
  EXPECT_FALSE(stops.stopped());
}

TEST(Sampler, the_same_seed_draws_the_same_tokens) {
  std::vector<float> logits(100);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(i));
  Sampler a({.temperature = 1, .top_p = 1, .seed = 7});
  Sampler b({.temperature = 1, .top_p = 1, .seed = 7});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.sample(logits), b.sample(logits));
}

TEST(Sampler, draws_in_proportion_to_probability) {
  const std::vector<float> logits = {0.0f, std::log(2.0f), std::log(5.0f)};
  Sampler sampler({.temperature = 1, .top_p = 1, .seed = 1});
  std::vector<int> counts(3);
  for (int i = 0; i < 80000; ++i) ++counts[*sampler.sample(logits)];
  EXPECT_NEAR(counts[0], 10000, 500);
  EXPECT_NEAR(counts[1], 20000, 600);
  EXPECT_NEAR(counts[2], 50000, 700);
}

TEST(Sampler, cuts_by_top_k_top_p_and_min_p) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                                     std::log(0.05f)};
  const auto reached = [&](SamplingOptions options) {
    options.temperature = 1;
    Sampler sampler(options);
    uint32_t highest = 0;
    for (int i = 0; i < 5000; ++i) highest = std::max(highest, *sampler.sample(logits));
    return highest;
  };
  EXPECT_EQ(reached({.top_k = 2, .top_p = 1}), 1u);
  EXPECT_EQ(reached({.top_p = 0.79}), 1u);
  EXPECT_EQ(reached({.top_p = 0.81}), 2u);
  EXPECT_EQ(reached({.top_p = 1, .min_p = 0.2}), 2u);
  EXPECT_EQ(reached({.top_p = 1}), 3u);
}

TEST(Session, a_second_turn_reads_only_what_is_new) {
  const auto engine = tiny_engine({.plan = "int8"});
  Session session(*engine);
  session.reserve_tokens(512);
  auto request = greedy(encode(*engine, "It was a dark and stormy night, and"), 8);
  const auto first = session.generate(request);
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_EQ(first->reused_tokens, 0u);
  request.prompt.insert(request.prompt.end(), first->tokens.begin(), first->tokens.end());
  const auto more = encode(*engine, " the rain fell");
  request.prompt.insert(request.prompt.end(), more.begin(), more.end());
  const auto second = session.generate(request);
  ASSERT_TRUE(second.ok());
  // All but the last generated token were read.
  EXPECT_EQ(second->reused_tokens, first->prompt_tokens + first->tokens.size() - 1);
}

TEST(Session, refuses_what_cannot_be_and_goes_on) {
  const auto engine = tiny_engine();
  Session session(*engine);
  EXPECT_FALSE(session.generate(greedy({}, 4)).ok());
  EXPECT_FALSE(session.generate(greedy({999999}, 4)).ok());
  const auto longer = session.generate(greedy(std::vector<uint32_t>(5000, 1), 4));
  ASSERT_FALSE(longer.ok());
  EXPECT_NE(longer.error().message.find("2048"), std::string::npos) << longer.error().message;
  EXPECT_TRUE(session.generate(greedy({1, 2, 3}, 4)).ok());
}

TEST(Session, a_prompt_that_the_kv_memory_cannot_hold_is_refused_with_figures) {
  const auto engine = tiny_engine({.kv_memory = size_t{6} << 20});
  Session session(*engine);
  const auto result = session.generate(greedy(std::vector<uint32_t>(1500, 1), 100));
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("--kv-memory"), std::string::npos)
      << result.error().message;
}

TEST(Session, the_bytes_it_reports_are_those_of_the_pool) {
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  for (const std::string plan : {"full", "int4", "snapkv:0.5", "int8 streaming:64 settle=64"}) {
    const auto engine = tiny_engine({.plan = plan});
    Session session(*engine);
    const auto result = session.generate(greedy(ids, 20));
    ASSERT_TRUE(result.ok()) << result.error().message;
    const PoolFigures figures = engine->pool().figures();
    EXPECT_EQ(result->kv_bytes.rows, figures.used) << plan;
    EXPECT_GE(figures.used + figures.wasted, result->kv_bytes.pages) << plan;
  }
}

}  // namespace
}  // namespace skvis::testing
