// SPDX-License-Identifier: Apache-2.0
#include "http/connection.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/bytes.hpp"
#include "base/log.hpp"
#include "http/answering.hpp"

namespace skvis {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr uint32_t kHeaderLimit = 32 << 10;
// Of what is read and not yet parsed. Beast throws where one field, of a trailer even, is longer
// than 64 KiB: none can be.
constexpr size_t kBufferLimit = 48 << 10;
// What a client may send ahead while its request is being answered; later bytes wait in the kernel.
constexpr size_t kAheadLimit = 32 << 10;
constexpr std::chrono::seconds kLingerTime{2};

std::string to_string(beast::string_view text) {
  return {text.data(), text.size()};
}

template <typename Header>
HttpRequest head_of(const Header& header) {
  return {.method = to_string(header.method_string()),
          .path = path_of_target(to_string(header.target())),
          .content_type = to_string(header[http::field::content_type]),
          .authorization = to_string(header[http::field::authorization]),
          .origin = to_string(header[http::field::origin]),
          .preflight_fields = to_string(header[http::field::access_control_request_headers]),
          .body = {}};
}

HttpResponse too_large(size_t limit) {
  return error_response({.status = 413,
                         .message = fmt::format("the body is larger than {}, the limit of this "
                                                "server",
                                                format_bytes(static_cast<double>(limit))),
                         .code = "request_too_large"});
}

// What to say about a request that could not be read; nothing where nobody listens.
std::optional<HttpResponse> response_to(beast::error_code problem, size_t body_limit) {
  if (problem == http::error::body_limit) return too_large(body_limit);
  if (problem == http::error::header_limit || problem == http::error::buffer_overflow) {
    return error_response(
        {.status = 431,
         .message = fmt::format("the header is larger than {} bytes", kHeaderLimit)});
  }
  const bool malformed =
      problem.category() == make_error_code(http::error::bad_method).category() &&
      problem != http::error::end_of_stream && problem != http::error::partial_message;
  if (!malformed) return std::nullopt;
  return error_response(bad_request("not an HTTP request: " + problem.message()));
}

// Memory that a body may take, for as long as it is being read and answered.
class BodyShare {
 public:
  BodyShare(HttpShared& shared, size_t bytes) : shared_(shared) {
    if (shared.body_bytes + bytes > shared.options.max_bodies) return;
    bytes_ = bytes;
    granted_ = true;
    shared.body_bytes += bytes;
  }
  BodyShare(const BodyShare&) = delete;
  ~BodyShare() { shared_.body_bytes -= bytes_; }
  bool granted() const { return granted_; }

 private:
  HttpShared& shared_;
  size_t bytes_ = 0;
  bool granted_ = false;
};

}  // namespace

Connection::Connection(Transport::Socket socket, HttpShared& shared)
    : shared_(shared), stream_(std::move(socket), shared.tls), buffer_(kBufferLimit) {
  stream_.limit_send_buffer(shared.options.send_buffer);
  shared_.connections.insert(this);
}

Connection::~Connection() {
  shared_.connections.erase(this);
}

void Connection::close() {
  stream_.close();
}

asio::awaitable<void> Connection::run() {
  bool more = co_await open();
  if (!more) co_return;
  while (more && !shared_.closing) more = co_await serve_one();
  co_await stream_.end(kLingerTime);
}

asio::awaitable<bool> Connection::open() {
  stream_.expires_after(shared_.options.handshake_timeout);
  idle_ = true;
  const Transport::Opening opening = co_await stream_.open();
  idle_ = false;
  framing_ = {.keep_alive = false, .headers = shared_.router.cors_headers({})};
  if (opening == Transport::Opening::not_tls) {
    const HttpResponse response =
        error_response(bad_request("this port speaks TLS; begin the address with https://"));
    co_await respond_and_close(response);
  }
  co_return opening == Transport::Opening::ready;
}

asio::awaitable<bool> Connection::await_request() {
  if (buffer_.size() > 0) co_return true;
  stream_.expires_after(shared_.options.idle_timeout);
  idle_ = true;
  const auto [problem, read] = co_await stream_.async_read_some(buffer_.prepare(4096), kTuple);
  idle_ = false;
  buffer_.commit(read);
  co_return !problem;
}

asio::awaitable<bool> Connection::serve_one() {
  const ServerOptions& options = shared_.options;
  const bool begun = co_await await_request();
  if (!begun) co_return false;
  http::request_parser<http::string_body> parser;
  parser.header_limit(kHeaderLimit);
  parser.body_limit(options.max_body);
  // For the whole header, however slowly its bytes come.
  stream_.expires_after(options.header_timeout);
  const auto [problem, read] = co_await http::async_read_header(stream_, buffer_, parser, kTuple);
  framing_ = {.headers = shared_.router.cors_headers({})};
  if (problem) {
    const std::optional<HttpResponse> response = response_to(problem, options.max_body);
    if (response) co_await respond_and_close(*response);
    co_return false;
  }
  const Clock::time_point arrived = Clock::now();
  const auto& header = parser.get();
  framing_ = {.keep_alive = header.keep_alive() && header.version() >= 11 && !shared_.closing,
              .http_1_0 = header.version() < 11,
              .head_only = header.method() == http::verb::head};
  HttpRequest request = head_of(header);
  framing_.headers = shared_.router.cors_headers(request.origin);
  // Where such a body ends is a matter of opinion, and a proxy's may differ from ours.
  if (header.count(http::field::transfer_encoding) > 0 && !parser.chunked()) {
    const HttpResponse response = error_response(
        bad_request("the only Transfer-Encoding that this server reads is 'chunked'"));
    co_await respond_and_close(response);
    co_return false;
  }
  if (const auto response = shared_.router.answer_head(request)) {
    if (!parser.is_done()) {
      co_await respond_and_close(*response);
      co_return false;
    }
    const bool sent = co_await respond(*response);
    co_return sent;
  }
  if (parser.is_done()) {
    const bool answered = co_await answer(std::move(request), arrived);
    co_return answered;
  }
  const size_t length = parser.content_length() ? *parser.content_length() : options.max_body;
  const BodyShare share(shared_, length);
  if (!share.granted()) {
    const HttpResponse response =
        error_response(overloaded(503, "too many large requests at once; try again in a moment"));
    co_await respond_and_close(response);
    co_return false;
  }
  const bool whole = co_await read_body(parser);
  if (!whole) co_return false;
  request.body = std::move(parser.get().body());
  const bool answered = co_await answer(std::move(request), arrived);
  co_return answered;
}

template <typename Parser>
asio::awaitable<bool> Connection::read_body(Parser& parser) {
  if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    const bool sent = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!sent) co_return false;
  }
  stream_.expires_after(shared_.options.body_timeout);
  const auto [problem, read] = co_await http::async_read(stream_, buffer_, parser, kTuple);
  if (!problem) co_return true;
  const std::optional<HttpResponse> response = response_to(problem, shared_.options.max_body);
  if (response) co_await respond_and_close(*response);
  co_return false;
}

asio::awaitable<bool> Connection::answer(HttpRequest request, Clock::time_point arrived) {
  Reply reply;
  if (request.method == "POST") {
    const auto work = [&]() -> asio::awaitable<Reply> { co_return shared_.router.answer(request); };
    reply = co_await asio::co_spawn(shared_.worker, work, asio::use_awaitable);
  } else {
    reply = shared_.router.answer(request);
  }
  request.body = {};
  if (shared_.closing) framing_.keep_alive = false;
  bool usable = false;
  if (auto* job = std::get_if<AnswerJob>(&reply)) {
    usable = co_await answer_job(*this, std::move(*job), arrived);
  } else {
    const auto& response = std::get<HttpResponse>(reply);
    spdlog::debug("{} {}: {}", request.method, request.path, response.status);
    usable = co_await respond(response);
  }
  co_return usable&& framing_.keep_alive && !shared_.closing;
}

asio::awaitable<bool> Connection::respond(const HttpResponse& response) {
  const std::string bytes = response_bytes(response, framing_);
  const bool written = co_await write(bytes);
  co_return written&& framing_.keep_alive;
}

asio::awaitable<void> Connection::respond_and_close(const HttpResponse& response) {
  framing_.keep_alive = false;
  const std::string bytes = response_bytes(response, framing_);
  const bool written = co_await write(bytes);
  if (!written) co_return;
  stream_.half_close();
  stream_.expires_after(kLingerTime);
  std::array<char, 16 << 10> discarded;
  for (;;) {
    const auto [problem, read] = co_await stream_.async_read_some(asio::buffer(discarded), kTuple);
    if (problem) co_return;
  }
}

asio::awaitable<bool> Connection::write(std::string_view bytes) {
  if (bytes.empty()) co_return true;
  stream_.expires_after(shared_.options.write_timeout);
  const auto [problem, written] =
      co_await asio::async_write(stream_, asio::buffer(bytes.data(), bytes.size()), kTuple);
  co_return !problem;
}

asio::awaitable<void> Connection::watch() {
  while (buffer_.size() < kAheadLimit) {
    // A client may wait as long as its answer takes. A write under way keeps its own time.
    stream_.expires_never();
    const auto [problem, read] = co_await stream_.async_read_some(buffer_.prepare(4096), kTuple);
    buffer_.commit(read);
    if (problem) co_return;
  }
  asio::steady_timer forever(shared_.io, asio::steady_timer::time_point::max());
  co_await forever.async_wait(asio::use_awaitable);
}

}  // namespace skvis
