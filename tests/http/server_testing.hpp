// SPDX-License-Identifier: Apache-2.0
// A real server with the tiny model on a free port, in the test's process.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.hpp"
#include "http/http_client.hpp"
#include "http/http_server.hpp"

namespace skvis::testing {

// Loaded once; servers follow one another on it.
inline Engine& tiny_engine() {
  static const std::unique_ptr<Engine> engine = [] {
    auto created = Engine::create(SKVIS_SOURCE_DIR "/models/tiny",
                                  {.plan = "int8", .kv_memory = size_t{64} << 20, .threads = 1});
    EXPECT_TRUE(created.ok()) << created.error().message;
    return std::move(*created);
  }();
  return *engine;
}

class RunningServer {
 public:
  explicit RunningServer(ServerOptions options = {}, Engine& engine = tiny_engine()) {
    options.port = 0;
    options.handle_signals = false;
    auto listening = HttpServer::listen(engine, options);
    EXPECT_TRUE(listening.ok()) << listening.error().message;
    server_ = std::move(*listening);
    thread_ = std::thread([this] { server_->run(); });
  }
  ~RunningServer() { stop(); }

  void stop() {
    server_->stop();
    if (thread_.joinable()) thread_.join();
  }
  HttpServer& operator*() { return *server_; }
  HttpServer* operator->() { return server_.get(); }
  uint16_t port() const { return server_->port(); }

  // Waits for what the engine's thread brings about; false after ten seconds.
  bool eventually(const std::function<bool(const ServiceFigures&)>& is_true) const {
    for (int i = 0; i < 1000; ++i) {
      if (is_true(server_->figures())) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

 private:
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

inline std::string chat_body(const std::string& fields = {}) {
  return R"({"messages":[{"role":"user","content":"Say something."}])" +
         (fields.empty() ? "" : "," + fields) + "}";
}
// Runs for as long as a test needs: nearly the whole context.
inline std::string long_body(const std::string& fields = {}) {
  return chat_body(R"("max_tokens":2000,"ignore_eos":true)" + (fields.empty() ? "" : "," + fields));
}

// The data of a stream's events, comments left out.
inline std::vector<std::string> events_of(const std::string& body) {
  std::vector<std::string> events;
  size_t begin = 0;
  while (begin < body.size()) {
    const size_t end = body.find("\n\n", begin);
    EXPECT_NE(end, body.npos) << "an event without its blank line";
    if (end == body.npos) break;
    const std::string event = body.substr(begin, end - begin);
    begin = end + 2;
    if (event.starts_with(":")) continue;
    EXPECT_TRUE(event.starts_with("data: ")) << event;
    events.push_back(event.substr(6));
  }
  return events;
}

}  // namespace skvis::testing
