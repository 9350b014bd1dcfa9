// SPDX-License-Identifier: Apache-2.0
// One client's connection: requests one after another, each answered before the next is read. All
// of it runs on the thread of the io_context.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <string_view>
#include <unordered_set>

#include "http/http_server.hpp"
#include "http/transport.hpp"
#include "server/routes.hpp"

namespace skvis {

class Connection;

// What all connections share.
struct HttpShared {
  boost::asio::io_context& io;
  boost::asio::thread_pool& worker;  // tokenizes prompts, so that others are answered meanwhile
  const ServerOptions& options;
  const Router& router;
  Service& service;
  Metrics& metrics;
  boost::asio::ssl::context* tls = nullptr;  // null: plain
  bool closing = false;
  std::unordered_set<Connection*> connections;
  size_t body_bytes = 0;  // promised to requests that are being read
};

class Connection {
 public:
  Connection(Transport::Socket socket, HttpShared& shared);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Until the client or the server ends it.
  boost::asio::awaitable<void> run();
  void close();
  bool idle() const { return idle_; }  // no request has begun

  HttpShared& shared() { return shared_; }
  const Framing& framing() const { return framing_; }
  // `bytes` stay alive until it ends. False: the client is gone or does not take them.
  boost::asio::awaitable<bool> write(std::string_view bytes);
  // Ends when the client goes away. What it sends meanwhile is kept for the next request. A client
  // that shuts down its sending side counts as gone, as with most servers.
  boost::asio::awaitable<void> watch();

 private:
  // False: the client did not get through the handshake of TLS.
  boost::asio::awaitable<bool> open();
  // Waits for the first bytes of the next request.
  boost::asio::awaitable<bool> await_request();
  // One request and its answer. False: the connection ends.
  boost::asio::awaitable<bool> serve_one();
  template <typename Parser>
  boost::asio::awaitable<bool> read_body(Parser& parser);
  boost::asio::awaitable<bool> answer(HttpRequest request,
                                      std::chrono::steady_clock::time_point arrived);
  boost::asio::awaitable<bool> respond(const HttpResponse& response);
  // Answers, then takes what the client still sends for a moment: closing at once would reset the
  // connection, and the answer could be lost with it.
  boost::asio::awaitable<void> respond_and_close(const HttpResponse& response);

  HttpShared& shared_;
  Transport stream_;
  boost::beast::flat_buffer buffer_;
  Framing framing_;
  bool idle_ = false;
};

}  // namespace skvis
