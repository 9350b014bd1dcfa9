// SPDX-License-Identifier: Apache-2.0
#include "engine/service.hpp"

#include <future>

#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

TEST(Service, answers_in_order_refuses_beyond_its_queue_and_cancels) {
  const auto engine = tiny_engine({.plan = "int8"});
  Service service(*engine, 2, {.most_running = 1});
  std::vector<std::promise<FinishReason>> ends(4);
  std::vector<Service::Ticket> tickets;
  for (size_t i = 0; i < ends.size(); ++i) {
    ServiceRequest request;
    request.generation = greedy(encode(*engine, "Once upon a time"), 400);
    request.generation.ignore_end = true;
    request.on_text = [](std::string_view) {};
    request.on_done = [&ends, i](const GenerationResult& result) {
      ends[i].set_value(result.finish);
    };
    request.on_error = [](const Error& error) { FAIL() << error.message; };
    tickets.push_back(service.submit(std::move(request)));
    // The first one leaves the queue at once.
    while (i == 0 && service.figures().running == 0) std::this_thread::yield();
  }
  EXPECT_NE(tickets[2], 0u);
  EXPECT_EQ(tickets[3], 0u);
  service.cancel(tickets[0]);
  service.cancel(tickets[1]);
  EXPECT_EQ(ends[0].get_future().get(), FinishReason::cancelled);
  EXPECT_EQ(ends[1].get_future().get(), FinishReason::cancelled);
  EXPECT_EQ(ends[2].get_future().get(), FinishReason::length);
  service.drain(std::chrono::milliseconds(1000));
  const ServiceFigures figures = service.figures();
  EXPECT_EQ(figures.finished, 1u);
  EXPECT_GT(figures.prompt_tokens, 0u);
  EXPECT_GT(figures.generated_tokens, 0u);
  EXPECT_EQ(figures.cancelled, 2u);
  EXPECT_EQ(figures.kv.used + figures.kv.wasted + figures.kv.reserved, 0u);
}

TEST(Service, serves_several_requests_at_once_from_many_threads) {
  const auto engine = tiny_engine({.plan = "int8"});
  const auto alone = Session(*engine).generate(greedy(encode(*engine, "Once upon a time"), 60));
  ASSERT_TRUE(alone.ok());
  Service service(*engine, 64);
  std::atomic<size_t> most_running = 0;
  std::vector<std::thread> clients;
  std::vector<std::promise<GenerationResult>> results(8);
  for (auto& result : results) {
    clients.emplace_back([&] {
      ServiceRequest request;
      request.generation = greedy(encode(*engine, "Once upon a time"), 60);
      request.on_text = [&](std::string_view) {
        most_running = std::max(most_running.load(), service.figures().running);
      };
      request.on_done = [&](const GenerationResult& done) { result.set_value(done); };
      request.on_error = [](const Error& error) { FAIL() << error.message; };
      EXPECT_NE(service.submit(std::move(request)), 0u);
    });
  }
  for (std::thread& client : clients) client.join();
  for (auto& result : results) EXPECT_EQ(result.get_future().get().tokens, alone->tokens);
  EXPECT_GT(most_running, 1u);
  EXPECT_EQ(service.figures().idle, 8u);
  EXPECT_GT(service.figures().idle_bytes, 0u);
  service.drain(std::chrono::milliseconds(1000));
  EXPECT_EQ(service.figures().idle, 0u);
  EXPECT_EQ(service.submit({}), 0u);
}

TEST(Service, requests_that_cannot_be_are_answered_for) {
  const auto engine = tiny_engine({.plan = "int8"});
  Service service(*engine, 4);
  std::promise<std::string> answer;
  ServiceRequest request;
  request.on_done = [](const GenerationResult&) { FAIL(); };
  request.on_error = [&](const Error& error) { answer.set_value(error.message); };
  service.submit(std::move(request));
  EXPECT_NE(answer.get_future().get().find("prompt is empty"), std::string::npos);
  service.drain(std::chrono::milliseconds(1000));
  EXPECT_EQ(service.figures().failed, 1u);
}

}  // namespace
}  // namespace skvis::testing
