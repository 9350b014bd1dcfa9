// SPDX-License-Identifier: Apache-2.0
// Who is served next, how much of a prompt a step reads beside answers, and when time is over.
#include "engine/client_shares.hpp"
#include "engine/prompt_pace.hpp"
#include "engine/scheduler_testing.hpp"

namespace skvis::testing {
namespace {

TEST(ClientShares, tokens_of_answers_count_twice) {
  ClientShares shares;
  shares.arrive("a");
  shares.arrive("b");
  shares.serve("a", 100, 0);
  shares.serve("b", 10, 30);
  EXPECT_EQ(shares.served("a"), 100);
  EXPECT_EQ(shares.served("b"), 70);
}

TEST(ClientShares, nobody_saves_up_a_claim_by_being_away_or_loses_a_debt) {
  ClientShares shares;
  shares.arrive("busy");
  shares.arrive("debtor");
  shares.serve("busy", 1000, 0);
  shares.serve("debtor", 5000, 0);
  shares.leave("debtor");
  shares.arrive("new");
  EXPECT_EQ(shares.served("new"), 1000);  // as the least of those that are here
  shares.arrive("debtor");
  EXPECT_EQ(shares.served("debtor"), 5000);
  shares.leave("new");
  shares.serve("busy", 2000, 0);
  shares.arrive("new");
  EXPECT_EQ(shares.served("new"), 3000);
  // Alone for a while, one does not fall behind others that come then.
  for (const char* client : {"busy", "debtor", "new"}) shares.leave(client);
  shares.arrive("late");
  EXPECT_EQ(shares.served("late"), 3000);
}

TEST(ClientShares, a_client_with_several_requests_is_here_until_the_last_ends) {
  ClientShares shares;
  shares.arrive("a");
  shares.arrive("a");
  shares.serve("a", 10, 0);
  shares.leave("a");
  shares.arrive("b");
  EXPECT_EQ(shares.served("b"), 10);
  shares.leave("a");
  shares.leave("a");  // once too often
  shares.serve("b", 5, 0);
  shares.arrive("c");
  EXPECT_EQ(shares.served("c"), 15);
}

TEST(ClientShares, however_many_clients_come_and_go_few_are_remembered) {
  ClientShares shares;
  shares.arrive("stays");
  for (int i = 0; i < 5000; ++i) {
    const std::string client = std::to_string(i);
    shares.arrive(client);
    shares.serve(client, static_cast<size_t>(i), 0);
    shares.leave(client);
  }
  EXPECT_LE(shares.known(), ClientShares::kMostAway + 1);
  EXPECT_EQ(shares.served("4999"), 4999);  // who owes most is remembered
}

TEST(PromptPace, a_prompt_takes_as_long_as_the_answers_beside_it) {
  PromptPace pace(2);
  EXPECT_EQ(pace.rows(0, 256), 256u);
  EXPECT_EQ(pace.rows(8, 256), 64u);  // nothing is known yet
  EXPECT_EQ(pace.rows(8, 10), 10u);
  for (int i = 0; i < 50; ++i) pace.note(0, 8, 0.020);
  for (int i = 0; i < 50; ++i) pace.note(64, 8, 0.020 + 64 * 0.00025);
  EXPECT_EQ(pace.rows(8, 256), 80u);  // 20 ms of rows of 0.25 ms
  EXPECT_EQ(pace.rows(0, 256), 256u);
  for (int i = 0; i < 200; ++i) pace.note(80, 8, 0.020 + 80 * 0.01);
  EXPECT_EQ(pace.rows(8, 256), PromptPace::kLeastRows);  // it must come to its end
  for (int i = 0; i < 200; ++i) pace.note(256, 0, 256 * 0.00001);
  EXPECT_EQ(pace.rows(8, 256), 256u);
  EXPECT_EQ(PromptPace(0).rows(8, 256), 256u);
}

ScheduledRequest of_client(const std::string& client, GenerationRequest request,
                           std::vector<std::string>& order) {
  return {.generation = std::move(request),
          .callbacks = {.on_text = {},
                        .on_prompt =
                            [&order, client](size_t done, size_t) {
                              if (done == 0) order.push_back(client);
                            },
                        .on_token = {},
                        .go_on = {}},
          .client = client};
}

TEST(Scheduler, a_single_request_does_not_wait_behind_a_hundred_of_another_client) {
  const auto engine = tiny_engine({.plan = "int8"});
  Scheduler scheduler(*engine, {.most_running = 1, .share_prefixes = false});
  std::vector<std::string> order;
  for (size_t i = 0; i < 6; ++i) {
    scheduler.submit(of_client("many", ask(some_prompt(40 * i, 30), 4), order));
  }
  scheduler.step();
  scheduler.submit(of_client("one", ask(some_prompt(500, 30), 4), order));
  run_all(scheduler);
  ASSERT_EQ(order.size(), 7u);
  EXPECT_EQ(order[0], "many");
  EXPECT_EQ(order[1], "one");
  // With equal work they take turns.
  order.clear();
  for (size_t i = 0; i < 4; ++i) {
    scheduler.submit(of_client("a", ask(some_prompt(40 * i, 30), 4), order));
  }
  for (size_t i = 0; i < 4; ++i) {
    scheduler.submit(of_client("b", ask(some_prompt(900 + 40 * i, 30), 4), order));
  }
  run_all(scheduler);
  EXPECT_EQ(order, (std::vector<std::string>{"a", "b", "a", "b", "a", "b", "a", "b"}));
  expect_empty(scheduler, *engine);
}

TEST(Scheduler, a_step_reads_no_more_of_a_prompt_than_its_budget_leaves) {
  const auto engine = tiny_engine({.plan = "int8"});
  Scheduler scheduler(*engine, {.step_tokens = 40, .prompt_stretch = 0});
  std::vector<Outcome> outcomes(5);
  for (size_t i = 0; i < 4; ++i) submit(scheduler, ask(some_prompt(i, 20), 60), outcomes[i]);
  for (int i = 0; i < 6; ++i) scheduler.step();
  EXPECT_EQ(scheduler.figures().decoding, 4u);
  const auto request = ask(some_prompt(77, 300), 5);
  submit(scheduler, request, outcomes[4]);
  while (scheduler.figures().reading + scheduler.figures().waiting > 0) {
    scheduler.step();
    EXPECT_LE(scheduler.last_step().prompt_rows + scheduler.last_step().generated_rows, 40u);
    EXPECT_EQ(scheduler.last_step().generated_rows, 4u);
  }
  run_all(scheduler);
  const auto alone = Session(*engine).generate(request);
  ASSERT_TRUE(alone.ok() && outcomes[4].result);
  EXPECT_EQ(outcomes[4].result->tokens, alone->tokens);
  expect_empty(scheduler, *engine);
}

TEST(Scheduler, a_request_whose_time_is_over_ends_with_what_there_is) {
  const auto engine = tiny_engine({.plan = "int8"});
  Scheduler scheduler(*engine, {.most_running = 1});
  Outcome running, waiting;
  const auto now = std::chrono::steady_clock::now();
  const auto submit_until = [&](Outcome& outcome, auto deadline) {
    scheduler.submit({.generation = ask(some_prompt(3, 20), 100000),
                      .on_done =
                          [&](const GenerationResult& result) {
                            outcome.result = result;
                            ++outcome.calls;
                          },
                      .deadline = deadline});
  };
  submit_until(running, now + std::chrono::milliseconds(1500));
  submit_until(waiting, now + std::chrono::milliseconds(1));
  run_all(scheduler);
  ASSERT_TRUE(running.result && waiting.result);
  EXPECT_EQ(running.result->finish, FinishReason::deadline);
  EXPECT_GT(running.result->tokens.size(), 0u);
  EXPECT_EQ(waiting.result->finish, FinishReason::deadline);
  EXPECT_EQ(waiting.result->tokens.size(), 0u);
  EXPECT_EQ(running.calls + waiting.calls, 2);
  expect_empty(scheduler, *engine);
}

}  // namespace
}  // namespace skvis::testing
