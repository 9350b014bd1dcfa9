// SPDX-License-Identifier: Apache-2.0
#include "http/transport.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/detect_ssl.hpp>

namespace skvis {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

}  // namespace

Transport::Transport(Socket socket, asio::ssl::context* tls) : plain_(std::move(socket)) {
  beast::error_code ignored;  // a UNIX socket has no such option
  // Pieces of a stream are small and shall not wait for each other.
  plain_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  if (tls != nullptr) tls_.emplace(plain_, *tls);
}

asio::awaitable<Transport::Opening> Transport::open() {
  if (!tls_) co_return Opening::ready;
  beast::flat_buffer begun(16 << 10);
  const auto [unread, is_tls] = co_await beast::async_detect_ssl(plain_, begun, kTuple);
  if (unread) co_return Opening::failed;
  if (!is_tls) co_return Opening::not_tls;
  const auto [refused, taken] =
      co_await tls_->async_handshake(asio::ssl::stream_base::server, begun.data(), kTuple);
  if (refused) co_return Opening::failed;
  secure_ = true;
  co_return Opening::ready;
}

asio::awaitable<void> Transport::end(std::chrono::milliseconds patience) {
  if (secure_) {
    expires_after(patience);
    co_await tls_->async_shutdown(kTuple);
  }
  beast::error_code ignored;
  plain_.socket().shutdown(Socket::shutdown_both, ignored);
}

void Transport::limit_send_buffer(size_t bytes) {
  beast::error_code ignored;
  plain_.socket().set_option(asio::socket_base::send_buffer_size(static_cast<int>(bytes)), ignored);
}

void Transport::half_close() {
  beast::error_code ignored;
  if (!secure_) plain_.socket().shutdown(Socket::shutdown_send, ignored);
}

void Transport::close() {
  beast::error_code ignored;
  plain_.socket().close(ignored);
}

}  // namespace skvis
