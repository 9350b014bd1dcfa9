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
  std::string unix_path;           // a UNIX socket in place of host and port
  // PEM files; both or none. With them the port speaks TLS only.
  std::string tls_certificate;
  std::string tls_key;
  std::string model_id;  // empty: the model's name
  std::vector<std::string> api_keys;
  std::vector<std::string> cors_origins = {"*"};  // web pages that may read answers; see CorsPolicy
  uint32_t default_max_tokens = 1024;
  size_t queue = 32;       // requests that may wait
  uint32_t parallel = 32;  // requests that are answered at once, as far as the KV memory allows
  bool handle_signals = true;

  // Limits on clients.
  size_t max_body = size_t{16} << 20;
  size_t max_bodies = size_t{256} << 20;  // of all requests that are being read
  size_t max_connections = 256;
  // Of an answer that its client does not take: in the kernel, and before that in this process.
  // A stream that holds more is ended.
  size_t send_buffer = size_t{128} << 10;
  size_t max_unsent = size_t{1} << 20;
  std::chrono::milliseconds handshake_timeout{10'000};  // of TLS
  std::chrono::milliseconds idle_timeout{75'000};       // for the next request to begin
  std::chrono::milliseconds header_timeout{15'000};     // for a whole header, once it has begun
  std::chrono::milliseconds body_timeout{60'000};       // for a whole body
  std::chrono::milliseconds write_timeout{30'000};      // for a client to take a piece
  std::chrono::milliseconds keep_alive{15'000};         // between comments in a silent stream
  std::chrono::milliseconds drain{10'000};              // for what runs when the server stops
};

class HttpServer {
 public:
  // Listens from now on; run() answers. `engine` outlives the server. Fails as check_options()
  // does.
  static Result<std::unique_ptr<HttpServer>> listen(Engine& engine, const ServerOptions& options);
  ~HttpServer();

  uint16_t port() const;    // 0 for a UNIX socket
  std::string url() const;  // "http://127.0.0.1:8080", "unix:/run/skvis.sock"
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

// Fails when the address cannot be had, or when the files of TLS or the origins are wrong: to be
// asked before a model is loaded for it.
Result<void> check_options(const ServerOptions& options);

// Listens, says where, and serves until a signal ends it.
Result<void> serve(Engine& engine, const ServerOptions& options);

}  // namespace skvis
