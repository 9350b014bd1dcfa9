// SPDX-License-Identifier: Apache-2.0
// UNIX sockets and TLS: the same server behind another door.
#include <sys/stat.h>

#include "files.hpp"
#include "http/server_testing.hpp"
#include "http/tls_client.hpp"

namespace skvis::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr const char* kChat = "/v1/chat/completions";

mode_t mode_of(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 ? found.st_mode : 0;
}

// A bound socket whose process is gone, as a crash leaves it.
void leave_dead_socket(const std::string& path) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(socket);
}

std::string refusal(const ServerOptions& options) {
  const auto checked = check_options(options);
  const auto server = HttpServer::listen(tiny_engine(), options);
  EXPECT_FALSE(server.ok());
  EXPECT_FALSE(checked.ok());
  return checked.ok() ? "" : checked.error().message;
}

TEST(unix_socket, it_answers_its_user_alone_and_goes_with_the_server) {
  const TempFolder folder;
  const std::string path = folder.path() / "skvis.sock";
  {
    RunningServer server({.unix_path = path});
    EXPECT_EQ(mode_of(path), S_IFSOCK | 0600u);
    EXPECT_EQ(server->url(), "unix:" + path);
    EXPECT_EQ(server.port(), 0);
    HttpClient client(path);
    EXPECT_EQ(client.get("/health").status, 200);
    const ClientResponse stream = client.post(kChat, chat_body(R"("max_tokens":3,"stream":true)"));
    EXPECT_EQ(events_of(stream.body).back(), "[DONE]");
    client.send_post(kChat, long_body(R"("stream":true)"));
    ASSERT_TRUE(server.eventually([](const auto& figures) { return figures.running == 1; }));
    client.close();
    EXPECT_TRUE(server.eventually([](const auto& figures) { return figures.cancelled == 1; }));
  }
  EXPECT_EQ(mode_of(path), 0u);
}

TEST(unix_socket, what_a_dead_server_left_is_replaced) {
  const TempFolder folder;
  const std::string path = folder.path() / "skvis.sock";
  leave_dead_socket(path);
  ASSERT_NE(mode_of(path), 0u);
  RunningServer server({.unix_path = path});
  EXPECT_EQ(HttpClient(path).get("/health").status, 200);
}

TEST(unix_socket, a_living_server_keeps_its_socket) {
  const TempFolder folder;
  const std::string path = folder.path() / "skvis.sock";
  RunningServer server({.unix_path = path});
  EXPECT_THAT(refusal({.unix_path = path}), HasSubstr("another program listens there"));
  EXPECT_EQ(HttpClient(path).get("/health").status, 200);
}

TEST(unix_socket, a_file_that_is_no_socket_stays) {
  const TempFolder folder;
  const std::string path = folder.write("notes.txt", "precious");
  EXPECT_THAT(refusal({.unix_path = path}), HasSubstr("something else than a socket"));
  EXPECT_EQ(mode_of(path) & S_IFMT, static_cast<mode_t>(S_IFREG));
}

TEST(unix_socket, wrong_paths_are_named) {
  EXPECT_THAT(refusal({.unix_path = "/no/such/folder/x.sock"}), HasSubstr("/no/such/folder"));
  EXPECT_THAT(refusal({.unix_path = "/tmp/" + std::string(200, 'x')}), HasSubstr("1 to 107 bytes"));
}

class tls : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(write_certificate(certificate_, key_)); }
  ServerOptions with(ServerOptions options = {}) const {
    options.tls_certificate = certificate_;
    options.tls_key = key_;
    return options;
  }

  const TempFolder folder_;
  const std::string certificate_ = folder_.path() / "chain.pem";
  const std::string key_ = folder_.path() / "key.pem";
};

TEST_F(tls, answers_and_streams_are_as_without_it) {
  RunningServer server(with());
  EXPECT_EQ(server->url(), fmt::format("https://127.0.0.1:{}", server.port()));
  TlsClient client(server.port());
  ASSERT_TRUE(client.ready());
  EXPECT_EQ(client.version(), TLS1_3_VERSION);
  EXPECT_EQ(client.get("/health").status, 200);
  const std::string fields = R"("max_tokens":30,"temperature":0,"ignore_eos":true)";
  const Json whole = client.post(kChat, chat_body(fields)).json();
  const ClientResponse stream = client.post(kChat, chat_body(fields + R"(,"stream":true)"));
  std::vector<std::string> events = events_of(stream.body);
  EXPECT_EQ(events.back(), "[DONE]");
  events.pop_back();
  std::string text;
  for (const std::string& event : events) {
    const Json delta = parse_json(event, "event")->at("choices")[0]["delta"];
    if (delta.contains("content") && delta["content"].is_string()) {
      text += delta["content"].get<std::string>();
    }
  }
  EXPECT_EQ(text, whole["choices"][0]["message"]["content"]);
  // Far more than one record, both ways.
  const std::string large(100'000, 'x');
  const ClientResponse tokens =
      client.post("/tokenize", dump_json(Json{{"content", large}, {"with_pieces", true}}));
  EXPECT_GT(tokens.json()["count"].get<size_t>(), 1000u);
  EXPECT_EQ(client.get("/health", "Connection: close\r\n").status, 200);
  EXPECT_TRUE(client.ended());
  EXPECT_TRUE(client.said_goodbye());
}

TEST_F(tls, version_1_2_is_taken_and_older_ones_are_not) {
  RunningServer server(with());
  TlsClient current(server.port(), TLS1_2_VERSION);
  ASSERT_TRUE(current.ready());
  EXPECT_EQ(current.version(), TLS1_2_VERSION);
  EXPECT_EQ(current.get("/health").status, 200);
  EXPECT_FALSE(TlsClient(server.port(), TLS1_1_VERSION).ready());
}

TEST_F(tls, a_client_that_goes_away_ends_its_generation) {
  RunningServer server(with());
  TlsClient client(server.port());
  client.send_post(kChat, long_body(R"("stream":true)"));
  ASSERT_TRUE(client.receive_until("content\":\""));
  client.close();
  EXPECT_TRUE(server.eventually([](const auto& figures) { return figures.cancelled == 1; }));
}

TEST_F(tls, what_is_sent_ahead_of_an_answer_is_kept) {
  RunningServer server(with());
  TlsClient client(server.port());
  client.send_post(kChat, chat_body(R"("max_tokens":30,"ignore_eos":true)"));
  client.send("GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.receive().json()["object"], "chat.completion");
  EXPECT_TRUE(client.receive().json().contains("version"));
}

TEST_F(tls, plain_http_is_told_what_to_do) {
  RunningServer server(with());
  HttpClient client(server.port());
  const ClientResponse response = client.get("/health");
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.body, HasSubstr("https://"));
  EXPECT_TRUE(client.ended());
}

TEST_F(tls, a_handshake_that_does_not_come_is_not_waited_for) {
  RunningServer server(with({.handshake_timeout = 200ms}));
  HttpClient silent(server.port());
  EXPECT_TRUE(silent.ended());
  HttpClient half(server.port());
  half.send(std::string("\x16\x03\x01\x02", 4));
  EXPECT_TRUE(half.ended());
  HttpClient wrong(server.port());
  wrong.send(std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10));
  EXPECT_TRUE(wrong.ended());
  EXPECT_EQ(TlsClient(server.port()).get("/health").status, 200);
}

TEST_F(tls, a_stopping_server_says_goodbye) {
  RunningServer server(with());
  TlsClient client(server.port());
  client.send_post(kChat, chat_body(R"("max_tokens":20,"ignore_eos":true,"stream":true)"));
  ASSERT_TRUE(client.receive_until("content\":\""));
  server.stop();
  EXPECT_EQ(events_of(client.receive().body).back(), "[DONE]");
  EXPECT_TRUE(client.ended());
}

TEST_F(tls, wrong_files_are_named) {
  const std::string text = folder_.write("text.pem", "no certificate");
  const std::string other = folder_.path() / "other.pem";
  const std::string other_key = folder_.path() / "other-key.pem";
  ASSERT_TRUE(write_certificate(other, other_key));
  EXPECT_THAT(refusal({.tls_certificate = certificate_}), HasSubstr("--tls-key is missing"));
  EXPECT_THAT(refusal({.tls_key = key_}), HasSubstr("--tls-cert is missing"));
  EXPECT_THAT(refusal({.tls_certificate = "/no/chain.pem", .tls_key = key_}),
              HasSubstr("/no/chain.pem"));
  EXPECT_THAT(refusal({.tls_certificate = text, .tls_key = key_}),
              ::testing::AllOf(HasSubstr("text.pem"), HasSubstr("certificate")));
  EXPECT_THAT(refusal({.tls_certificate = certificate_, .tls_key = text}),
              ::testing::AllOf(HasSubstr("text.pem"), HasSubstr("private key")));
  EXPECT_THAT(refusal({.tls_certificate = certificate_, .tls_key = other_key}),
              HasSubstr("other-key.pem"));
  EXPECT_THAT(refusal(with({.unix_path = folder_.path() / "x.sock"})), HasSubstr("--unix"));
}

}  // namespace
}  // namespace skvis::testing
