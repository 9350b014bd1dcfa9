// SPDX-License-Identifier: Apache-2.0
// Many clients at once, good and bad ones: the small form of scripts/load_test.py, which the
// sanitizers can watch.
#include <atomic>
#include <random>

#include "http/server_testing.hpp"

namespace skvis::testing {
namespace {

using namespace std::chrono_literals;

constexpr const char* kChat = "/v1/chat/completions";
constexpr int kClients = 16;
constexpr int kRequests = 8;  // of each client

struct Counts {
  std::atomic<int> ended{0};
  std::atomic<int> refused{0};
  std::atomic<int> malformed{0};
};

std::string random_body(std::mt19937& random, bool stream) {
  return chat_body(fmt::format(R"("max_tokens":{},"ignore_eos":true,"seed":{},"stream":{})",
                               1 + random() % 24, random() % 100, stream));
}

// An answer to its end, or a refusal that says when to come back.
void take_answer(HttpClient& client, bool stream, Counts& counts) {
  const ClientResponse response = client.receive();
  if (response.status == 429) {
    EXPECT_TRUE(response.headers.contains("retry-after"));
    ++counts.refused;
    return;
  }
  ASSERT_EQ(response.status, 200) << response.body;
  if (stream) {
    EXPECT_EQ(events_of(response.body).back(), "[DONE]");
  } else {
    EXPECT_TRUE(response.json()["choices"][0]["finish_reason"].is_string());
  }
  ++counts.ended;
}

void one_request(uint16_t port, std::mt19937& random, Counts& counts) {
  HttpClient client(port);
  const bool stream = random() % 3 != 0;
  switch (random() % 6) {
    case 0:  // goes away, sooner or later
      client.send_post(kChat, long_body(R"("stream":true)"));
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
      return;
    case 1: {  // sends a part
      const std::string body = random_body(random, stream);
      client.send(
          fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      "Content-Length: {}\r\n\r\n{}",
                      kChat, body.size(), body.substr(random() % body.size())));
      return;
    }
    case 2:
      EXPECT_EQ(client.post(kChat, R"({"messages":)").status, 400);
      ++counts.malformed;
      return;
    case 3:  // reads late
      client.send_post(kChat, random_body(random, stream));
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
      return take_answer(client, stream, counts);
    default:
      client.send_post(kChat, random_body(random, stream));
      return take_answer(client, stream, counts);
  }
}

TEST(crowd, every_client_gets_an_end_and_all_memory_comes_back) {
  RunningServer server({.queue = 6, .parallel = 4, .drain = 60s});
  Counts counts;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      std::mt19937 random(static_cast<uint32_t>(i));
      for (int k = 0; k < kRequests; ++k) one_request(server.port(), random, counts);
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(server.eventually(
      [](const auto& figures) { return figures.running == 0 && figures.waiting == 0; }));
  const ServiceFigures figures = server->figures();
  EXPECT_GT(counts.ended, 0);
  EXPECT_GT(counts.malformed, 0);
  EXPECT_EQ(figures.failed, 0u);
  EXPECT_GE(figures.finished, static_cast<uint64_t>(counts.ended));
  EXPECT_GT(figures.cancelled, 0u);
  EXPECT_EQ(figures.kv.used + figures.kv.wasted, figures.idle_bytes);
  EXPECT_EQ(figures.kv.reserved, 0u);
  server.stop();
  const ServiceFigures after = server->figures();
  EXPECT_EQ(after.kv.used + after.kv.wasted + after.kv.reserved, 0u);
}

}  // namespace
}  // namespace skvis::testing
