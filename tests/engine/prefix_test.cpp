// SPDX-License-Identifier: Apache-2.0
// Prompts that begin alike share what was read, under every plan, and answer as if nothing were
// shared; what depends on more than its tokens is never shared.
#include <random>

#include "engine/scheduler_testing.hpp"

namespace skvis::testing {
namespace {

struct Case {
  std::string plan;
  uint32_t step;
  bool cuts;  // may leave a conversation behind its last grid point
};
const std::vector<Case> kShared = {
    {"full settle=64", 64, true},
    {"int8", 256, true},
    {"int4-hadamard settle=64 exact=16", 64, true},
    {"full snapkv:0.25 settle=128 sinks=4 observe=16 exact=16", 128, true},
    {"int8 streaming:96 settle=64 sinks=4 recent=16", 64, true},
    {"int8 snapkv:0.4 settle=64 observe=16 recent=24 budget=ada", 64, true},
    {"int8 expected-attention:0.5 settle=64 sinks=4", 64, false},
    {"int8 h2o-grid:0.5 settle=64", 64, false},
    {"int8 lagkv:0.5 settle=128 sinks=4", 128, true},
};

// A prompt that leaves some_prompt(0, ...) after `common` tokens.
std::vector<uint32_t> branch(size_t common, size_t length) {
  std::vector<uint32_t> prompt = some_prompt(0, common);
  const std::vector<uint32_t> rest = some_prompt(1000 + common, length - common);
  prompt.insert(prompt.end(), rest.begin(), rest.end());
  if (prompt[common] == some_prompt(common, 1)[0]) prompt[common] ^= 1;
  return prompt;
}

void expect_as_alone(Engine& engine, const GenerationRequest& request, const Outcome& outcome,
                     const std::string& what) {
  const auto alone = Session(engine).generate(request);
  ASSERT_TRUE(alone.ok()) << alone.error().message;
  ASSERT_TRUE(outcome.result) << what << ": " << outcome.error;
  EXPECT_EQ(outcome.result->tokens, alone->tokens) << what;
  EXPECT_EQ(outcome.result->rows_held, alone->rows_held) << what;
  EXPECT_EQ(outcome.result->kv_bytes.pages, alone->kv_bytes.pages) << what;
}

TEST(Prefix, prompts_that_begin_alike_read_only_what_is_new_and_answer_as_alone) {
  for (const Case& test : kShared) {
    const auto engine = tiny_engine({.plan = test.plan});
    Scheduler scheduler(*engine);
    const auto ask_alone = [&](const GenerationRequest& request) {
      Outcome outcome;
      submit(scheduler, request, outcome);
      run_all(scheduler);
      EXPECT_TRUE(outcome.result) << outcome.error;
      return outcome;
    };
    // Leaves the first before, at and behind a grid point, and within the rows behind its last.
    const size_t length = 3 * test.step + 40;
    EXPECT_EQ(ask_alone(ask(some_prompt(0, length), 8)).result->reused_tokens, 0u);
    for (const size_t common : {2 * test.step - 1, 2 * test.step, 2 * test.step + 30}) {
      const auto request = ask(branch(common, common + 150), 20);
      const Outcome outcome = ask_alone(request);
      EXPECT_EQ(outcome.result->reused_tokens, common / test.step * test.step) << test.plan;
      expect_as_alone(*engine, request, outcome, fmt::format("{}, {}", test.plan, common));
    }
    const size_t common = 3 * test.step + 25;
    const auto request = ask(branch(common, common + 150), 20);
    const Outcome outcome = ask_alone(request);
    EXPECT_EQ(outcome.result->reused_tokens, test.cuts ? common : 3 * test.step) << test.plan;
    expect_as_alone(*engine, request, outcome, test.plan);
    EXPECT_GT(scheduler.figures().points, 3u) << test.plan;
    EXPECT_EQ(engine->pool().figures(), engine->pool().recount());
    expect_empty(scheduler, *engine);
  }
}

TEST(Prefix, the_same_prompt_again_reads_its_last_step_at_most) {
  for (const Case& test : kShared) {
    const auto engine = tiny_engine({.plan = test.plan});
    Scheduler scheduler(*engine);
    for (const size_t length : {2 * test.step, 2 * test.step + 1, 2 * test.step + 40}) {
      const auto request = ask(some_prompt(0, length), 12);
      Outcome first, second;
      submit(scheduler, request, first);
      run_all(scheduler);
      submit(scheduler, request, second);
      run_all(scheduler);
      ASSERT_TRUE(first.result && second.result);
      EXPECT_GE(second.result->reused_tokens + test.step, length) << test.plan;
      EXPECT_LT(second.result->reused_tokens, length) << test.plan;
      EXPECT_EQ(second.result->tokens, first.result->tokens) << test.plan << ", " << length;
    }
    expect_empty(scheduler, *engine);
  }
}

TEST(Prefix, what_was_settled_for_a_question_is_not_shared_with_another_one) {
  for (const std::string plan :
       {"int8 snapkv:0.3 settle=prompt", "int8 kvzip:0.5 settle=prompt", "full settle=prompt"}) {
    const auto engine = tiny_engine({.plan = plan});
    Scheduler scheduler(*engine);
    Outcome first, second, same, next;
    submit(scheduler, ask(some_prompt(0, 300), 8), first);
    run_all(scheduler);
    const auto other = ask(branch(290, 320), 8);
    submit(scheduler, other, second);
    submit(scheduler, ask(some_prompt(0, 300), 8), same);
    run_all(scheduler);
    ASSERT_TRUE(first.result && second.result && same.result);
    EXPECT_EQ(second.result->reused_tokens, 0u) << plan;
    EXPECT_EQ(same.result->reused_tokens, 0u) << plan;
    EXPECT_EQ(scheduler.figures().points, 0u) << plan;
    expect_as_alone(*engine, other, second, plan);
    // The conversation itself goes on.
    std::vector<uint32_t> prompt = some_prompt(0, 300);
    prompt.insert(prompt.end(), first.result->tokens.begin(), first.result->tokens.end());
    prompt.push_back(5);
    submit(scheduler, ask(prompt, 4), next);
    run_all(scheduler);
    ASSERT_TRUE(next.result);
    EXPECT_EQ(next.result->reused_tokens, 307u) << plan;
    expect_empty(scheduler, *engine);
  }
}

TEST(Prefix, requests_of_different_salts_share_nothing) {
  const auto engine = tiny_engine({.plan = "int8 settle=64"});
  Scheduler scheduler(*engine);
  const auto reused = [&](const std::string& salt) {
    Outcome outcome;
    submit(scheduler, ask(some_prompt(0, 200), 4), outcome, 0, salt);
    run_all(scheduler);
    return outcome.result ? outcome.result->reused_tokens : UINT32_MAX;
  };
  EXPECT_EQ(reused("a"), 0u);
  EXPECT_EQ(reused("b"), 0u);
  EXPECT_EQ(reused(""), 0u);
  EXPECT_EQ(reused("a"), 199u);
  EXPECT_EQ(reused("b"), 199u);
  expect_empty(scheduler, *engine);
}

// Sequences that share a long beginning need little memory each, and admission knows it.
TEST(Prefix, shared_pages_count_once_so_that_more_requests_run) {
  for (const std::string plan :
       {"int8 settle=64", "int8 snapkv:0.5 settle=64 sinks=4 observe=16 exact=16"}) {
    const auto engine = tiny_engine({.plan = plan, .kv_memory = memory_for(plan, 1024, 1060, 8)});
    size_t without_sharing = 0;
    for (const bool share : {false, true}) {
      Scheduler scheduler(*engine, {.share_prefixes = share});
      Outcome first;
      submit(scheduler, ask(some_prompt(0, 1000), 4), first);
      run_all(scheduler);
      std::vector<Outcome> outcomes(24);
      for (size_t i = 0; i < outcomes.size(); ++i) {
        auto prompt = branch(960, 1024);
        prompt.back() = static_cast<uint32_t>(i + 10);
        submit(scheduler, ask(prompt, 36), outcomes[i]);
      }
      size_t most = 0;
      while (scheduler.step()) most = std::max(most, scheduler.figures().running());
      for (const Outcome& outcome : outcomes) {
        ASSERT_TRUE(outcome.result) << outcome.error;
        EXPECT_EQ(outcome.result->reused_tokens, share ? 960u : 0u);
      }
      if (share) {
        EXPECT_GE(2 * most, 3 * without_sharing) << plan;
      } else {
        without_sharing = most;
        EXPECT_LE(most, 12u) << plan;
      }
      expect_empty(scheduler, *engine);
    }
  }
}

TEST(Prefix, what_is_kept_leaves_when_room_is_needed_and_nobody_fails) {
  std::mt19937 random(5);
  for (const Case& test : kShared) {
    const auto probe = tiny_engine({.plan = test.plan});
    const size_t memory = 2 * probe->layout().worst_case_bytes(900, 1000) + (size_t{12} << 20);
    const auto engine = tiny_engine({.plan = test.plan, .kv_memory = memory});
    Scheduler scheduler(*engine);
    std::vector<GenerationRequest> requests;
    for (int i = 0; i < 40; ++i) {
      const size_t common = random() % 800;
      requests.push_back(ask(branch(common, common + 1 + random() % 90), 1 + random() % 12));
    }
    std::vector<Outcome> outcomes(requests.size());
    size_t reused = 0;
    for (size_t i = 0; i < requests.size(); ++i) {
      submit(scheduler, requests[i], outcomes[i]);
      for (size_t k = random() % 6; k > 0; --k) scheduler.step();
      ASSERT_EQ(engine->pool().figures(), engine->pool().recount());
    }
    run_all(scheduler);
    for (size_t i = 0; i < requests.size(); ++i) {
      ASSERT_EQ(outcomes[i].calls, 1);
      ASSERT_TRUE(outcomes[i].result) << test.plan << ": " << outcomes[i].error;
      reused += outcomes[i].result->reused_tokens;
      if (i % 5 == 0) expect_as_alone(*probe, requests[i], outcomes[i], test.plan);
    }
    EXPECT_GT(reused, 2000u) << test.plan;
    expect_empty(scheduler, *engine);
  }
}

}  // namespace
}  // namespace skvis::testing
