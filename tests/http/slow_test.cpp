// SPDX-License-Identifier: Apache-2.0
// Clients that take their time, and answers that do.
#include "http/server_testing.hpp"

namespace skvis::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kComment = ": keep-alive\n\n";

TEST(slow, a_header_that_comes_byte_by_byte_is_cut_off) {
  RunningServer server({.header_timeout = 200ms});  // each byte comes well within every other limit
  HttpClient client(server.port());
  const std::string header = "GET /health HTTP/1.1\r\nX-Slow: " + std::string(30, 'x');
  for (const char byte : header) {
    if (!client.send(std::string(1, byte))) break;
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_TRUE(client.ended());
}

TEST(slow, a_body_that_comes_byte_by_byte_is_cut_off) {
  RunningServer server({.body_timeout = 200ms});
  HttpClient client(server.port());
  client.send(
      "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Content-Length: 1000\r\n\r\n{");
  for (int i = 0; i < 50 && client.send(" "); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(client.ended());
}

TEST(slow, a_connection_without_a_next_request_is_closed) {
  RunningServer server({.idle_timeout = 200ms});
  HttpClient client(server.port());
  EXPECT_EQ(client.get("/health").status, 200);
  EXPECT_TRUE(client.ended());
}

TEST(slow, an_answer_may_take_longer_than_every_limit_on_clients) {
  RunningServer server({.idle_timeout = 150ms,
                        .header_timeout = 150ms,
                        .body_timeout = 150ms,
                        .write_timeout = 150ms,
                        .keep_alive = 60s});
  HttpClient client(server.port());
  const auto begin = std::chrono::steady_clock::now();
  const ClientResponse whole =
      client.post(kChat, chat_body(R"("max_tokens":1000,"ignore_eos":true)"));
  EXPECT_EQ(whole.status, 200);
  EXPECT_GT(std::chrono::steady_clock::now() - begin, 150ms) << "too fast to show anything";
}

TEST(slow, a_reader_that_stands_still_loses_its_stream_when_too_much_waits) {
  RunningServer server({.send_buffer = 4096, .max_unsent = 1000, .write_timeout = 60s});
  HttpClient client(server.port(), 2048);
  client.send_post(kChat, long_body(R"("stream":true)"));
  EXPECT_TRUE(server.eventually([](const auto& figures) { return figures.cancelled == 1; }));
  EXPECT_EQ(server->figures().finished, 0u);
}

TEST(slow, a_reader_that_stands_still_loses_its_stream_after_a_while) {
  RunningServer server({.send_buffer = 4096, .write_timeout = 200ms});
  HttpClient client(server.port(), 2048);
  client.send_post(kChat, long_body(R"("stream":true)"));
  EXPECT_TRUE(server.eventually([](const auto& figures) { return figures.cancelled == 1; }));
}

TEST(slow, a_slow_reader_gets_all_of_its_stream) {
  RunningServer server({.send_buffer = 4096});
  HttpClient client(server.port(), 2048);
  client.send_post(kChat, chat_body(R"("max_tokens":300,"ignore_eos":true,"stream":true)"));
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(events_of(client.receive().body).back(), "[DONE]");
  EXPECT_EQ(server->figures().finished, 1u);
}

TEST(slow, a_prompt_that_is_read_long_is_accompanied_by_comments) {
  RunningServer server({.keep_alive = 2ms});
  HttpClient client(server.port());
  std::string ids = "[7";
  for (int i = 0; i < 1800; ++i) ids += fmt::format(",{}", 10 + i % 900);
  const ClientResponse response =
      client.post("/v1/completions", R"({"prompt":)" + ids + R"(],"max_tokens":3,"stream":true})");
  const size_t comment = response.body.find(kComment);
  ASSERT_NE(comment, response.body.npos);
  EXPECT_LT(comment, response.body.find("data: "));
  EXPECT_EQ(events_of(response.body).back(), "[DONE]");
}

TEST(slow, a_request_may_do_without_comments) {
  RunningServer server({.parallel = 1, .keep_alive = 2ms});
  HttpClient running(server.port());
  running.send_post(kChat, long_body());
  ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.running == 1; }));
  HttpClient plain(server.port());
  HttpClient silent(server.port());
  const std::string fields = R"("max_tokens":2,"stream":true)";
  plain.send_post(kChat, chat_body(fields));
  silent.send_post(kChat, chat_body(fields + R"(,"sse_ping_interval":-1)"));
  ASSERT_TRUE(plain.receive_until(kComment));
  running.close();
  EXPECT_THAT(silent.receive().body, Not(HasSubstr(kComment)));
  HttpClient wrong(server.port());
  EXPECT_EQ(wrong.post(kChat, chat_body(R"("sse_ping_interval":4000)")).status, 400);
}

}  // namespace
}  // namespace skvis::testing
