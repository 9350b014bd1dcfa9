// SPDX-License-Identifier: Apache-2.0
// Requests together give what each gives alone; memory decides who runs, and nothing is lost.
#include <random>

#include "engine/scheduler_testing.hpp"

namespace skvis::testing {
namespace {

const std::vector<std::string> kPlans = {
    "full settle=64",
    "int8 settle=64",
    "int4-hadamard settle=64 exact=16",
    "full snapkv:0.25 settle=128 sinks=4 observe=16 exact=16",
    "int8 streaming:96 settle=64 sinks=4 recent=16",
    "int8 snapkv:0.3 settle=prompt",
    "int8 snapkv:0.4 settle=64 observe=16 budget=ada",
};

TEST(Scheduler, requests_together_answer_as_each_does_alone) {
  for (const std::string& plan : kPlans) {
    const DenseMode mode = plan == kPlans[3] ? DenseMode::bf16 : DenseMode::fast;
    const auto engine = tiny_engine({.plan = plan, .mode = mode});
    std::vector<GenerationRequest> requests;
    for (const size_t length : {5, 63, 300, 130, 1, 257}) {
      requests.push_back(ask(some_prompt(7 * length, length), 40));
    }
    requests[1].sampling = {.temperature = 1, .top_p = 0.9, .seed = 5};
    requests[3].ignore_end = false;
    std::vector<Outcome> outcomes(requests.size());
    for (const bool prompts_first : {false, true}) {
      Scheduler scheduler(*engine, {.prompts_first = prompts_first});
      outcomes.assign(requests.size(), {});
      size_t most_rows = 0;
      for (size_t i = 0; i < requests.size(); ++i) {
        submit(scheduler, requests[i], outcomes[i]);
        if (!prompts_first) scheduler.step();  // the others come while it runs
      }
      while (scheduler.step()) {
        most_rows = std::max<size_t>(most_rows, scheduler.last_step().generated_rows);
      }
      EXPECT_GE(most_rows, 4u) << plan;
      for (size_t i = 0; i < requests.size(); ++i) {
        const auto alone = Session(*engine).generate(requests[i]);
        ASSERT_TRUE(alone.ok()) << alone.error().message;
        ASSERT_EQ(outcomes[i].calls, 1) << outcomes[i].error;
        ASSERT_TRUE(outcomes[i].result) << outcomes[i].error;
        EXPECT_EQ(outcomes[i].result->tokens, alone->tokens) << plan << ", request " << i;
        EXPECT_EQ(outcomes[i].result->text, alone->text);
        EXPECT_EQ(outcomes[i].result->finish, alone->finish);
        EXPECT_EQ(outcomes[i].result->rows_held, alone->rows_held);
        EXPECT_EQ(outcomes[i].result->kv_bytes.pages, alone->kv_bytes.pages);
      }
      expect_empty(scheduler, *engine);
    }
  }
}

TEST(Scheduler, later_turns_go_on_where_the_conversation_stayed) {
  for (const std::string& plan : kPlans) {
    const auto engine = tiny_engine({.plan = plan});
    Scheduler scheduler(*engine);
    constexpr size_t kConversations = 3;
    std::vector<std::vector<uint32_t>> prompts;
    std::vector<Session> sessions;
    for (size_t i = 0; i < kConversations; ++i) {
      prompts.push_back(some_prompt(100 * i, 150 + 40 * i));
      sessions.emplace_back(*engine);
      sessions.back().reserve_tokens(600);
    }
    for (size_t turn = 0; turn < 3; ++turn) {
      std::vector<Outcome> outcomes(kConversations);
      for (size_t i = 0; i < kConversations; ++i) {
        submit(scheduler, ask(prompts[i], 30), outcomes[i]);
      }
      run_all(scheduler);
      EXPECT_EQ(scheduler.figures().idle, kConversations);
      // Kept conversations are promised nothing that they do not hold.
      for (size_t i = 0; i < kConversations; ++i) {
        ASSERT_TRUE(outcomes[i].result) << outcomes[i].error;
        const auto alone = sessions[i].generate(ask(prompts[i], 30));
        ASSERT_TRUE(alone.ok()) << alone.error().message;
        EXPECT_EQ(outcomes[i].result->tokens, alone->tokens) << plan << ", turn " << turn;
        EXPECT_EQ(outcomes[i].result->reused_tokens, alone->reused_tokens);
        EXPECT_EQ(outcomes[i].result->reused_tokens > 0, turn > 0);
        const auto& answer = outcomes[i].result->tokens;
        prompts[i].insert(prompts[i].end(), answer.begin(), answer.end());
        const auto more = some_prompt(11 * turn + i, 20);
        prompts[i].insert(prompts[i].end(), more.begin(), more.end());
      }
    }
    sessions.clear();
    expect_empty(scheduler, *engine);
  }
}

TEST(Scheduler, who_does_not_fit_waits_and_what_is_kept_makes_room) {
  const std::string plan = "full settle=64";
  const auto engine = tiny_engine({.plan = plan, .kv_memory = memory_for(plan, 600, 700, 2)});
  Scheduler scheduler(*engine);
  std::vector<Outcome> outcomes(5);
  for (size_t i = 0; i < 5; ++i) submit(scheduler, ask(some_prompt(i, 600), 100), outcomes[i]);
  size_t most = 0;
  while (scheduler.step()) most = std::max(most, scheduler.figures().running());
  EXPECT_EQ(most, 2u);
  for (const Outcome& outcome : outcomes) {
    ASSERT_TRUE(outcome.result) << outcome.error;
    EXPECT_EQ(outcome.result->tokens.size(), 100u);
  }
  EXPECT_EQ(scheduler.figures().dropped, 3u);
  EXPECT_EQ(scheduler.figures().idle, 2u);
  expect_empty(scheduler, *engine);
}

TEST(Scheduler, the_least_recently_used_conversation_leaves_unless_its_next_turn_waits) {
  const std::string plan = "full settle=64";
  const auto engine = tiny_engine({.plan = plan, .kv_memory = memory_for(plan, 600, 700, 3)});
  // In the order of arrival and with overtaking.
  for (const uint32_t most_overtaken : {0, 64}) {
    Scheduler scheduler(*engine, {.most_overtaken = most_overtaken});
    std::vector<std::vector<uint32_t>> prompts;
    for (size_t i = 0; i < 3; ++i) {
      Outcome outcome;
      prompts.push_back(some_prompt(50 * i, 600));
      submit(scheduler, ask(prompts[i], 2), outcome);
      run_all(scheduler);
      const auto& answer = outcome.result->tokens;
      prompts[i].insert(prompts[i].end(), answer.begin(), answer.end());
    }
    ASSERT_EQ(scheduler.figures().idle, 3u);
    // A newcomer needs one place. Conversation 0 is the oldest, but its next turn waits.
    std::vector<Outcome> outcomes(3);
    submit(scheduler, ask(some_prompt(7, 650), 50), outcomes[0]);
    submit(scheduler, ask(prompts[0], 2), outcomes[1]);
    run_all(scheduler);
    EXPECT_EQ(outcomes[1].result->reused_tokens, 601u);
    submit(scheduler, ask(prompts[1], 2), outcomes[2]);  // the oldest that nobody waited for
    run_all(scheduler);
    EXPECT_EQ(outcomes[2].result->reused_tokens, 0u);
    expect_empty(scheduler, *engine);
  }
}

TEST(Scheduler, next_turns_overtake_who_would_drop_them_a_few_times_only) {
  const std::string plan = "full settle=64";
  const auto engine = tiny_engine({.plan = plan, .kv_memory = memory_for(plan, 600, 700, 1)});
  Scheduler scheduler(*engine, {.most_overtaken = 3});
  std::vector<uint32_t> prompt = some_prompt(0, 600);
  Outcome newcomer;
  size_t turns = 0;
  size_t reused = 0;
  size_t turns_before_newcomer = 0;
  std::function<void(const GenerationResult&)> go_on = [&](const GenerationResult& result) {
    ++turns;
    reused += result.reused_tokens > 0;
    turns_before_newcomer += newcomer.calls == 0;
    if (turns == 8) return;
    prompt.insert(prompt.end(), result.tokens.begin(), result.tokens.end());
    scheduler.submit({.generation = ask(prompt, 4), .on_done = go_on});
  };
  scheduler.submit({.generation = ask(prompt, 4), .on_done = go_on});
  submit(scheduler, ask(some_prompt(9, 600), 4), newcomer);
  run_all(scheduler);
  EXPECT_EQ(turns, 8u);
  EXPECT_EQ(turns_before_newcomer, 1u + 3u);
  // Dropped once for the newcomer, and read again once.
  EXPECT_EQ(reused, 8u - 2u);
  ASSERT_TRUE(newcomer.result);
}

TEST(Scheduler, what_is_cancelled_ends_at_once_and_its_memory_is_free) {
  const auto engine = tiny_engine({.plan = "int8 settle=64"});
  Scheduler scheduler(*engine, {.most_running = 2});
  std::vector<Outcome> outcomes(4);
  std::vector<Scheduler::RequestId> ids;
  for (size_t i = 0; i < 4; ++i) {
    ids.push_back(submit(scheduler, ask(some_prompt(i, 400), 100), outcomes[i]));
  }
  for (int i = 0; i < 10; ++i) scheduler.step();
  EXPECT_EQ(scheduler.figures().decoding, 1u);
  EXPECT_EQ(scheduler.figures().reading, 1u);
  EXPECT_EQ(scheduler.figures().waiting, 2u);
  for (const Scheduler::RequestId id : ids) EXPECT_TRUE(scheduler.cancel(id));
  EXPECT_FALSE(scheduler.step());
  for (const Outcome& outcome : outcomes) {
    ASSERT_TRUE(outcome.result);
    EXPECT_EQ(outcome.calls, 1);
    EXPECT_EQ(outcome.result->finish, FinishReason::cancelled);
  }
  EXPECT_GT(outcomes[0].result->tokens.size(), 0u);
  EXPECT_FALSE(scheduler.cancel(ids[0]));
  EXPECT_EQ(engine->pool().figures().reserved, 0u);
  expect_empty(scheduler, *engine);
}

TEST(Scheduler, who_is_written_out_for_a_more_urgent_request_goes_on_with_the_same_tokens) {
  for (const std::string& plan : kPlans) {
    const auto engine = tiny_engine({.plan = plan, .kv_memory = memory_for(plan, 400, 500, 2)});
    std::vector<GenerationRequest> requests;
    for (const size_t i : {0, 1, 2, 3}) {
      requests.push_back(ask(some_prompt(90 * i, 400 - 10 * i), 60));
    }
    requests[1].sampling = {.temperature = 1, .top_p = 0.9, .seed = 5};
    std::vector<Outcome> outcomes(requests.size());
    Scheduler scheduler(*engine);
    submit(scheduler, requests[0], outcomes[0]);
    submit(scheduler, requests[1], outcomes[1]);
    // One answer has begun; then the other, too.
    for (size_t i = 2; i < 4; ++i) {
      for (int steps = 0; steps < 9; ++steps) scheduler.step();
      ScheduledRequest urgent{.generation = requests[i], .priority = 1};
      urgent.on_done = [&outcomes, i](const GenerationResult& result) {
        outcomes[i].result = result;
        ++outcomes[i].calls;
        EXPECT_FALSE(outcomes[0].result && outcomes[1].result);  // it was first
      };
      scheduler.submit(std::move(urgent));
    }
    run_all(scheduler);
    EXPECT_GE(scheduler.figures().preempted, 1u) << plan;
    for (size_t i = 0; i < requests.size(); ++i) {
      ASSERT_TRUE(outcomes[i].result) << outcomes[i].error;
      EXPECT_EQ(outcomes[i].calls, 1);
      scheduler.drop_idle();
      const auto alone = Session(*engine).generate(requests[i]);
      ASSERT_TRUE(alone.ok()) << alone.error().message;
      EXPECT_EQ(outcomes[i].result->tokens, alone->tokens) << plan << ", request " << i;
      EXPECT_EQ(outcomes[i].result->kv_bytes.pages, alone->kv_bytes.pages);
    }
    expect_empty(scheduler, *engine);
  }
}

TEST(Scheduler, requests_that_can_never_run_end_with_the_reason_and_hold_nobody_up) {
  const auto engine = tiny_engine({.plan = "full settle=64", .kv_memory = size_t{6} << 20});
  Scheduler scheduler(*engine);
  std::vector<Outcome> outcomes(4);
  submit(scheduler, ask(some_prompt(0, 1500), 100), outcomes[0]);
  submit(scheduler, ask({999999}, 1), outcomes[1]);
  submit(scheduler, ask(some_prompt(0, 20), 0), outcomes[2]);
  submit(scheduler, ask(some_prompt(0, 20), 5), outcomes[3]);
  run_all(scheduler);
  EXPECT_NE(outcomes[0].error.find("--kv-memory"), std::string::npos) << outcomes[0].error;
  EXPECT_NE(outcomes[1].error.find("vocabulary"), std::string::npos) << outcomes[1].error;
  ASSERT_TRUE(outcomes[2].result);
  EXPECT_TRUE(outcomes[2].result->tokens.empty());
  ASSERT_TRUE(outcomes[3].result);
  EXPECT_EQ(outcomes[3].result->tokens.size(), 5u);
}

TEST(Scheduler, memory_that_others_hold_is_an_error_and_not_an_endless_wait) {
  const auto engine = tiny_engine({.plan = "full settle=64", .kv_memory = size_t{16} << 20});
  const uint32_t most = engine->most_tokens();
  const auto other = engine->open_sequence(most, most);
  ASSERT_TRUE(other.ok());
  Scheduler scheduler(*engine);
  Outcome outcome;
  submit(scheduler, ask(some_prompt(0, most / 2), 5), outcome);
  run_all(scheduler);
  EXPECT_NE(outcome.error.find("taken at the moment"), std::string::npos) << outcome.error;
}

TEST(Scheduler, an_owner_that_throws_loses_its_own_answer_only) {
  const auto engine = tiny_engine({.plan = "int8 settle=64"});
  Scheduler scheduler(*engine);
  std::vector<Outcome> outcomes(2);
  ScheduledRequest bad{.generation = ask(some_prompt(0, 30), 20)};
  bad.callbacks.on_text = [](std::string_view) { throw std::runtime_error("no more room"); };
  bad.on_done = [&](const GenerationResult&) { ++outcomes[0].calls; };
  bad.on_error = [&](const Error& error) { outcomes[0].error = error.message; };
  scheduler.submit(std::move(bad));
  submit(scheduler, ask(some_prompt(0, 30), 20), outcomes[1]);
  run_all(scheduler);
  EXPECT_EQ(outcomes[0].error, "no more room");
  EXPECT_EQ(outcomes[0].calls, 0);
  ASSERT_TRUE(outcomes[1].result);
  expect_empty(scheduler, *engine);
}

TEST(Scheduler, of_a_random_mix_every_request_ends_once_and_all_memory_comes_back) {
  for (const std::string plan : {"full settle=64", "int8 snapkv:0.3 settle=64 observe=8 exact=16",
                                 "int8 snapkv:0.5 settle=prompt"}) {
    const auto engine = tiny_engine({.plan = plan, .kv_memory = memory_for(plan, 200, 300, 3)});
    Scheduler scheduler(*engine, {.most_running = 5});
    std::mt19937 random(3);
    std::vector<Outcome> outcomes(60);
    std::vector<Scheduler::RequestId> ids;
    std::vector<std::vector<uint32_t>> turns;
    size_t reused = 0;
    while (ids.size() < outcomes.size() || scheduler.step()) {
      if (ids.size() < outcomes.size() && scheduler.figures().waiting < 4 && random() % 9 == 0) {
        std::vector<uint32_t> prompt = some_prompt(random() % 400, 1 + random() % 200);
        // Half of the requests go on from one of the last answers that were given.
        size_t before = ids.size();
        for (size_t skip = random() % 3, i = ids.size(); i-- > 0 && before == ids.size();) {
          if (outcomes[i].result && skip-- == 0) before = i;
        }
        if (before < ids.size() && random() % 2 == 0) {
          const auto more = some_prompt(random() % 400, 1 + random() % 9);
          prompt = turns[before];
          prompt.insert(prompt.end(), outcomes[before].result->tokens.begin(),
                        outcomes[before].result->tokens.end());
          prompt.insert(prompt.end(), more.begin(), more.end());
          prompt.resize(std::min<size_t>(prompt.size(), 250));
        }
        turns.push_back(prompt);
        const int priority = static_cast<int>(random() % 8 / 6);
        ids.push_back(
            submit(scheduler, ask(prompt, 1 + random() % 50), outcomes[ids.size()], priority));
      }
      if (!ids.empty() && random() % 40 == 0) scheduler.cancel(ids[random() % ids.size()]);
      scheduler.step();
      EXPECT_EQ(engine->pool().figures(), engine->pool().recount());
    }
    for (const Outcome& outcome : outcomes) {
      EXPECT_EQ(outcome.calls, 1);
      EXPECT_TRUE(outcome.error.empty()) << outcome.error;
      if (outcome.result) reused += outcome.result->reused_tokens;
    }
    EXPECT_GT(reused, 0u) << plan;
    EXPECT_GT(scheduler.figures().dropped, 0u) << plan;
    EXPECT_GT(scheduler.figures().preempted, 0u) << plan;
    expect_empty(scheduler, *engine);
  }
}

}  // namespace
}  // namespace skvis::testing
