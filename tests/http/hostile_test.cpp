// SPDX-License-Identifier: Apache-2.0
// Clients that are wrong, slow, many, or gone; and the end of a server.
#include "http/server_testing.hpp"

namespace skvis::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr const char* kChat = "/v1/chat/completions";

TEST(hostile, a_client_that_goes_away_ends_its_generation) {
  for (const char* fields : {R"("stream":true)", R"("stream":false)"}) {
    RunningServer server;
    HttpClient client(server.port());
    client.send_post(kChat, long_body(fields));
    ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.running == 1; }));
    client.close();
    EXPECT_TRUE(server.eventually([](const auto& figures) { return figures.cancelled == 1; }));
    const ServiceFigures figures = server->figures();
    EXPECT_EQ(figures.finished, 0u);
    EXPECT_LT(figures.generated_tokens, 1900u);  // it did not run to its end
    EXPECT_EQ(figures.kv.used + figures.kv.wasted + figures.kv.reserved, 0u);
  }
}

TEST(hostile, a_client_that_leaves_the_queue_is_never_served) {
  RunningServer server({.parallel = 1});
  HttpClient first(server.port());
  HttpClient second(server.port());
  first.send_post(kChat, long_body(R"("stream":true)"));
  ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.running == 1; }));
  second.send_post(kChat, long_body());
  ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.waiting == 1; }));
  second.close();
  first.close();
  EXPECT_TRUE(server.eventually([](const auto& figures) { return figures.cancelled == 2; }));
}

TEST(hostile, a_full_queue_says_when_to_come_back) {
  RunningServer server({.queue = 1, .parallel = 1});
  HttpClient running(server.port());
  HttpClient waiting(server.port());
  HttpClient refused(server.port());
  running.send_post(kChat, long_body());
  ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.running == 1; }));
  waiting.send_post(kChat, long_body());
  ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.waiting == 1; }));
  const ClientResponse response = refused.post(kChat, chat_body());
  EXPECT_EQ(response.status, 429) << response.body;
  EXPECT_TRUE(response.headers.contains("retry-after"));
  EXPECT_EQ(response.json()["error"]["type"], "rate_limit_error");
}

TEST(hostile, a_connection_serves_many_requests_in_order) {
  RunningServer server;
  HttpClient client(server.port());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.get("/health").json()["status"], "ok");
  EXPECT_EQ(client.post("/tokenize", "{").status, 400);  // a wrong body ends no connection
  // Sent ahead while an answer is being generated: kept, and answered next.
  client.send_post(kChat, chat_body(R"("max_tokens":30,"ignore_eos":true)"));
  client.send("GET /version HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.receive().json()["object"], "chat.completion");
  EXPECT_TRUE(client.receive().json().contains("version"));
  const ClientResponse head = client.receive(false);
  EXPECT_EQ(head.status, 200);
  EXPECT_GT(std::stoi(head.headers.at("content-length")), 1000);
  client.send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.receive().headers.at("connection"), "close");
  EXPECT_TRUE(client.ended());
}

TEST(hostile, a_client_of_http_1_0_gets_a_stream_without_chunks) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string body = chat_body(R"("max_tokens":3,"stream":true)");
  client.send(
      fmt::format("POST {} HTTP/1.0\r\nContent-Type: application/json\r\n"
                  "Content-Length: {}\r\n\r\n{}",
                  kChat, body.size(), body));
  const ClientResponse response = client.receive();
  EXPECT_EQ(response.status, 200);
  EXPECT_FALSE(response.headers.contains("transfer-encoding"));
  EXPECT_EQ(events_of(response.body).back(), "[DONE]");
}

TEST(hostile, bodies_over_the_limit_are_refused) {
  RunningServer server({.max_body = 1000});
  const std::string large = chat_body("\"user\":\"" + std::string(2000, 'x') + "\"");
  HttpClient client(server.port());
  const ClientResponse response = client.post(kChat, large);
  EXPECT_EQ(response.status, 413);
  EXPECT_THAT(response.json()["error"]["message"].get<std::string>(), HasSubstr("1000 B"));
  HttpClient chunked(server.port());
  chunked.send(
      fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                  kChat, large.size(), large));
  EXPECT_EQ(chunked.receive().status, 413);
  HttpClient asking(server.port());  // is told before it sends anything
  asking.send(
      fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  "Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n",
                  kChat));
  EXPECT_EQ(asking.receive().status, 413);
  HttpClient good(server.port());
  EXPECT_EQ(good.post(kChat, chat_body(R"("max_tokens":1)")).status, 200);
}

TEST(hostile, a_client_that_asks_before_it_sends_is_told_to_go_on) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string body = chat_body(R"("max_tokens":2)");
  client.send(
      fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  "Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
                  kChat, body.size()));
  EXPECT_EQ(client.receive().status, 100);
  client.send(body);
  EXPECT_EQ(client.receive().status, 200);
}

TEST(hostile, too_many_bytes_of_bodies_at_once_are_refused) {
  RunningServer server({.max_bodies = 1000});
  HttpClient holding(server.port());
  holding.send(
      fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  "Expect: 100-continue\r\nContent-Length: 900\r\n\r\n",
                  kChat));
  EXPECT_EQ(holding.receive().status, 100);
  HttpClient client(server.port());
  EXPECT_EQ(client.post(kChat, chat_body("\"user\":\"" + std::string(200, 'x') + "\"")).status,
            503);
}

TEST(hostile, too_many_connections_are_turned_away) {
  RunningServer server({.max_connections = 1});
  HttpClient first(server.port());
  EXPECT_EQ(first.get("/health").status, 200);
  HttpClient second(server.port());
  EXPECT_EQ(second.receive().status, 503);
  first.close();
  for (int i = 0; i < 100; ++i) {
    HttpClient third(server.port());
    if (third.get("/health").status == 200) return;
    std::this_thread::sleep_for(20ms);
  }
  FAIL() << "the place of a client that left was not given to another";
}

TEST(hostile, slow_and_silent_clients_are_let_go) {
  RunningServer server({.idle_timeout = 200ms, .header_timeout = 200ms, .body_timeout = 200ms});
  HttpClient silent(server.port());
  EXPECT_TRUE(silent.ended());
  HttpClient slow_head(server.port());
  slow_head.send("GET /health HTT");
  EXPECT_TRUE(slow_head.ended());
  HttpClient slow_body(server.port());
  slow_body.send(
      "POST /tokenize HTTP/1.1\r\nContent-Type: application/json\r\n"
      "Content-Length: 10\r\n\r\n{");
  EXPECT_TRUE(slow_body.ended());
}

TEST(hostile, a_silent_stream_is_kept_alive_by_comments) {
  RunningServer server({.parallel = 1, .keep_alive = 5ms});
  HttpClient running(server.port());
  running.send_post(kChat, long_body());
  ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.running == 1; }));
  HttpClient client(server.port());
  client.send_post(kChat, chat_body(R"("max_tokens":2,"stream":true)"));
  EXPECT_TRUE(client.receive_until(": keep-alive\n\n"));
  running.close();
  const ClientResponse response = client.receive();
  EXPECT_EQ(events_of(response.body).back(), "[DONE]");
}

TEST(hostile, wrong_paths_methods_and_types_are_named) {
  RunningServer server;
  HttpClient client(server.port());
  EXPECT_EQ(client.get("/nothing").status, 404);
  const ClientResponse get = client.get(kChat);
  EXPECT_EQ(get.status, 405);
  EXPECT_EQ(get.headers.at("allow"), "POST");
  HttpClient poster(server.port());
  const ClientResponse post = poster.post("/health", "{}");
  EXPECT_EQ(post.status, 405);
  EXPECT_EQ(post.headers.at("allow"), "GET, HEAD");
  HttpClient plain(server.port());
  plain.send(
      fmt::format("POST {} HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n"
                  "{{}}",
                  kChat));
  const ClientResponse typed = plain.receive();
  EXPECT_EQ(typed.status, 400);
  EXPECT_THAT(typed.json()["error"]["message"].get<std::string>(), HasSubstr("'text/plain'"));
}

TEST(hostile, what_is_no_http_is_answered_and_closed) {
  RunningServer server;
  HttpClient noise(server.port());
  noise.send("\x16\x03\x01 hello\r\n\r\n");
  EXPECT_EQ(noise.receive().status, 400);
  EXPECT_TRUE(noise.ended());
  HttpClient header(server.port());
  header.send("GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n");
  EXPECT_EQ(header.receive().status, 431);
  HttpClient good(server.port());
  EXPECT_EQ(good.get("/health").status, 200);
}

TEST(hostile, what_stands_around_chunks_is_bounded) {
  RunningServer server;
  const std::string head = fmt::format(
      "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n",
      kChat);
  for (const size_t size : {size_t{40'000}, size_t{70'000}, size_t{200'000}}) {
    const std::string filler(size, 'x');
    HttpClient trailer(server.port());
    trailer.send(head + "2\r\n{}\r\n0\r\nX: " + filler + "\r\n\r\n");
    const int status = trailer.receive().status;
    EXPECT_TRUE(status == 400 || status == 431 || status == 0) << status;
    HttpClient extension(server.port());
    extension.send(head + "2;x=" + filler + "\r\n{}\r\n0\r\n\r\n");
    EXPECT_THAT(extension.receive().status, ::testing::AnyOf(400, 431));
    HttpClient good(server.port());
    EXPECT_EQ(good.get("/health").status, 200) << size;
  }
}

TEST(hostile, bodies_of_doubtful_length_are_refused) {
  RunningServer server;
  for (const char* lengths :
       {"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n", "Content-Length: -2\r\n",
        "Content-Length: 99999999999999999999999\r\n"}) {
    HttpClient client(server.port());
    client.send(
        fmt::format("POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{}"
                    "\r\n{{}}GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                    lengths));
    EXPECT_EQ(client.receive().status, 400) << lengths;
    EXPECT_EQ(client.receive().status, 0) << "what follows was read as a request: " << lengths;
  }
}

TEST(hostile, wrong_bodies_leave_the_server_well) {
  RunningServer server;
  HttpClient client(server.port());
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"),
        std::string(5000, '['), chat_body("\"user\":\"\xff\""), chat_body(R"("max_tokens":"x")"),
        chat_body(R"("tools":[{"type":"function"}])")}) {
    const ClientResponse response = client.post(kChat, body);
    EXPECT_EQ(response.status, 400) << body;
    const Json error = response.json()["error"];
    EXPECT_TRUE(error["message"].is_string());
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_TRUE(error.contains("param"));
    EXPECT_TRUE(error.contains("code"));
  }
  EXPECT_EQ(client.post(kChat, chat_body(R"("max_tokens":1)")).status, 200);
}

TEST(hostile, prompts_that_do_not_fit_are_refused_with_figures) {
  RunningServer server;
  HttpClient client(server.port());
  std::string ids = "[1";
  for (int i = 0; i < 2500; ++i) ids += ",1";
  const Json over = client.post("/v1/completions", R"({"prompt":)" + ids + "]}").json()["error"];
  EXPECT_EQ(over["code"], "context_length_exceeded");
  EXPECT_THAT(over["message"].get<std::string>(), HasSubstr("2501 tokens"));
  EXPECT_THAT(over["message"].get<std::string>(), HasSubstr("2048"));
  EXPECT_EQ(client.post("/v1/completions", R"({"prompt":[4096]})").status, 400);
  EXPECT_EQ(client.post("/v1/completions", R"({"prompt":[]})").status, 400);
  EXPECT_EQ(client.post("/v1/completions", R"({"prompt":""})").status, 400);
}

TEST(hostile, a_small_kv_memory_lowers_the_default_and_refuses_the_wish) {
  auto engine = Engine::create(SKVIS_SOURCE_DIR "/models/tiny",
                               {.plan = "full", .kv_memory = size_t{4} << 20, .threads = 1});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  const uint32_t most = (*engine)->most_tokens();
  ASSERT_GT(most, 100u);
  ASSERT_LT(most, 2000u);
  RunningServer server({.default_max_tokens = 2000}, **engine);
  HttpClient client(server.port());
  const Json fits =
      client.post("/v1/completions", R"({"prompt":[1,2,3],"ignore_eos":true})").json();
  EXPECT_EQ(fits["usage"]["total_tokens"], most);
  const ClientResponse over =
      client.post("/v1/completions", R"({"prompt":[1,2,3],"max_tokens":2000})");
  EXPECT_EQ(over.status, 400);
  EXPECT_EQ(over.json()["error"]["code"], "kv_memory_exceeded");
  EXPECT_THAT(over.json()["error"]["message"].get<std::string>(), HasSubstr("2003 tokens"));
}

TEST(hostile, only_keys_open_all_but_health) {
  RunningServer server({.api_keys = {"secret", "other"}});
  HttpClient client(server.port());
  EXPECT_EQ(client.get("/health").status, 200);
  const ClientResponse without = client.get("/v1/models");
  EXPECT_EQ(without.status, 401);
  EXPECT_EQ(without.json()["error"]["code"], "invalid_api_key");
  EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer wrong\r\n").status, 401);
  EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer other\r\n").status, 200);
  EXPECT_EQ(client.get("/nothing").status, 401);
}

TEST(hostile, stopping_lets_short_answers_end) {
  RunningServer server({.drain = 60s});  // sanitizers are slow
  HttpClient idle(server.port());
  EXPECT_EQ(idle.get("/health").status, 200);
  HttpClient client(server.port());
  client.send_post(kChat, chat_body(R"("max_tokens":60,"ignore_eos":true,"stream":true)"));
  ASSERT_TRUE(client.receive_until("content\":\""));
  server.stop();
  EXPECT_EQ(events_of(client.receive().body).back(), "[DONE]");
  EXPECT_TRUE(idle.ended());
  EXPECT_EQ(server->figures().finished, 1u);
}

TEST(hostile, stopping_answers_what_takes_too_long) {
  RunningServer server({.parallel = 1, .drain = 50ms});
  HttpClient stream(server.port());
  HttpClient whole(server.port());
  stream.send_post(kChat, long_body(R"("stream":true)"));
  ASSERT_TRUE(stream.receive_until("content\":\""));
  whole.send_post(kChat, long_body());
  ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.waiting == 1; }));
  const uint16_t port = server.port();
  server.stop();
  EXPECT_THAT(events_of(stream.receive().body).back(), HasSubstr("stopping"));
  const ClientResponse refused = whole.receive();
  EXPECT_EQ(refused.status, 503) << refused.body;
  EXPECT_FALSE(HttpClient(port).connected());
}

TEST(hostile, a_taken_port_is_named) {
  RunningServer server;
  const auto second = HttpServer::listen(tiny_engine(), {.port = server.port()});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message, HasSubstr(std::to_string(server.port())));
  EXPECT_THAT(second.error().message, HasSubstr("taken"));
  EXPECT_FALSE(check_options({.port = server.port()}).ok());
  EXPECT_TRUE(check_options({.port = 0}).ok());
  EXPECT_FALSE(HttpServer::listen(tiny_engine(), {.host = "no.such.host.invalid"}).ok());
}

TEST(hostile, ipv6_addresses_work_where_the_machine_has_them) {
  const auto server = HttpServer::listen(tiny_engine(), {.host = "[::1]", .port = 0});
  if (!server) GTEST_SKIP() << server.error().message;
  EXPECT_EQ((*server)->url(), fmt::format("http://[::1]:{}", (*server)->port()));
}

}  // namespace
}  // namespace skvis::testing
