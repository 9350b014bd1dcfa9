// SPDX-License-Identifier: Apache-2.0
// The HTTP server: a listener and its connections in front of the routes of server/.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/engine.hpp"
#include "engine/service.hpp"

namespace skvis {

struct ServerOptions {
  std::string host = "127.0.0.1";  // a name, an IPv4 or an IPv6 address
  uint16_t port = 8080;            // 0: a free one
  std::string model_id;            // empty: the model's name
  std::vector<std::string> api_keys;
  uint32_t default_max_tokens = 1024;
  size_t queue = 32;       // requests that may wait
  uint32_t parallel = 32;  // requests that are answered at once, as far as the KV memory allows
  bool handle_signals = true;

  // Limits on clients.
  size_t max_body = size_t{16} << 20;
  size_t max_bodies = size_t{256} << 20;  // of all requests that are being read
  size_t max_connections = 256;
  std::chrono::milliseconds idle_timeout{75'000};   // for the next request and its header
  std::chrono::milliseconds body_timeout{60'000};   // for a whole body
  std::chrono::milliseconds write_timeout{30'000};  // for a client to take a piece
  std::chrono::milliseconds keep_alive{10'000};     // between comments in a silent stream
  std::chrono::milliseconds drain{10'000};          // for what runs when the server stops
};

class HttpServer {
 public:
  // Listens from now on; run() answers. `engine` outlives the server. Fails when the address cannot
  // be had.
  static Result<std::unique_ptr<HttpServer>> listen(Engine& engine, const ServerOptions& options);
  ~HttpServer();

  uint16_t port() const;
  std::string url() const;  // "http://127.0.0.1:8080"
  const std::string& model_id() const;
  ServiceFigures figures() const;

  // Answers until stop() or, with handle_signals, SIGINT or SIGTERM. To be called once.
  void run();
  // From any thread: no new requests; what runs may end within the drain time, then run() returns.
  void stop();

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Fails when the address cannot be had: to be asked before a model is loaded for it.
Result<void> check_address(const ServerOptions& options);

// Listens, says where, and serves until a signal ends it.
Result<void> serve(Engine& engine, const ServerOptions& options);

}  // namespace skvis
