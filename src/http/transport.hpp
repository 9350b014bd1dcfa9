// SPDX-License-Identifier: Apache-2.0
// The bytes of one connection: over TCP or a UNIX socket, plain or through TLS.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

namespace skvis {

// A stream in Asio's sense: at most one read and one write at a time. When an expiry passes, the
// connection is closed and what was under way ends with an error.
class Transport {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  using executor_type = Socket::executor_type;
  template <typename Token>
  using Initiated =
      typename boost::asio::async_result<std::decay_t<Token>,
                                         void(boost::beast::error_code, size_t)>::return_type;

  // `tls` outlives the transport; null: plain.
  Transport(Socket socket, boost::asio::ssl::context* tls);
  executor_type get_executor() { return plain_.get_executor(); }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) -> Initiated<Token> {
    if (secure_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return plain_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) -> Initiated<Token> {
    if (secure_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return plain_.async_write_some(buffers, std::forward<Token>(token));
  }

  enum class Opening { ready, not_tls, failed };
  // What a connection begins with: the handshake, where there is one. not_tls: the client spoke
  // something else, and may be answered so, without TLS. To be called once, before anything is
  // read.
  boost::asio::awaitable<Opening> open();
  // Tells the client that nothing follows, without waiting longer than `patience`.
  boost::asio::awaitable<void> end(std::chrono::milliseconds patience);

  // Both directions, except those with an operation under way, whose expiry stays.
  void expires_after(std::chrono::milliseconds time) { plain_.expires_after(time); }
  void expires_never() { plain_.expires_never(); }
  void limit_send_buffer(size_t bytes);
  // Nothing more is sent; the client is still read. TLS has no such state: nothing happens.
  void half_close();
  void close();

 private:
  using Plain = boost::beast::basic_stream<boost::asio::generic::stream_protocol>;

  Plain plain_;
  std::optional<boost::asio::ssl::stream<Plain&>> tls_;
  bool secure_ = false;  // the handshake is done
};

}  // namespace skvis
