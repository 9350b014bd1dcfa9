// SPDX-License-Identifier: Apache-2.0
#include "http/http_server.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <thread>

#include "base/log.hpp"
#include "http/connection.hpp"
#include "http/listener.hpp"
#include "http/tls.hpp"

namespace skvis {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
// For clients to take their last pieces when nothing is generated any more.
constexpr std::chrono::seconds kLastWrites{2};

using TlsContext = std::unique_ptr<asio::ssl::context>;

Result<void> listen_at(Listener& listener, const ServerOptions& options) {
  if (options.unix_path.empty()) return listener.listen_tcp(options.host, options.port);
  if (!options.tls_certificate.empty() || !options.tls_key.empty()) {
    return fail("--unix does not go with TLS: the file's mode says who may connect");
  }
  return listener.listen_unix(options.unix_path);
}

// Null where no TLS is asked for.
Result<TlsContext> tls_of(const ServerOptions& options) {
  if (options.tls_certificate.empty() && options.tls_key.empty()) return TlsContext();
  return load_tls(options.tls_certificate, options.tls_key);
}

// Too many clients: one line, and the door. Those of TLS, who could not read it, get the door.
void turn_away(Transport::Socket socket, const HttpShared& shared) {
  if (shared.tls != nullptr) return;
  const std::string bytes =
      response_bytes(error_response(overloaded(503, "too many connections; try again in a moment")),
                     {.keep_alive = false, .headers = shared.router.cors_headers({})});
  ErrorCode ignored;
  socket.non_blocking(true, ignored);
  socket.send(asio::buffer(bytes), 0, ignored);
}

asio::awaitable<void> run_connection(Transport::Socket socket, HttpShared& shared) {
  try {
    Connection connection(std::move(socket), shared);
    co_await connection.run();
  } catch (const std::exception& problem) {
    spdlog::warn("a connection ended: {}", problem.what());
  }
}

}  // namespace

// Destroyed from the end: the service first, whose last words are posted to the io_context.
struct HttpServer::State {
  State(Engine& engine, const ServerOptions& given, CorsPolicy cors, TlsContext context)
      : options(given),
        tls(std::move(context)),
        metrics(options.model_id),
        router({.engine = engine,
                .model_id = options.model_id,
                .default_max_tokens = options.default_max_tokens,
                .started = std::time(nullptr)},
               ApiKeys(options.api_keys), std::move(cors), metrics,
               [this] { return service.figures(); }),
        service(engine, options.queue, {.most_running = options.parallel}) {}

  asio::awaitable<void> accept_clients();
  void begin_to_stop();
  void await_signal();
  void close_the_rest();

  const ServerOptions options;
  const TlsContext tls;
  asio::io_context io{1};
  asio::thread_pool worker{1};
  Listener listener{io};
  asio::signal_set signals{io};
  asio::steady_timer last_writes{io};
  Metrics metrics;
  Router router;
  Service service;
  HttpShared shared{.io = io,
                    .worker = worker,
                    .options = options,
                    .router = router,
                    .service = service,
                    .metrics = metrics,
                    .tls = tls.get()};
  std::thread drainer;
};

asio::awaitable<void> HttpServer::State::accept_clients() {
  while (!shared.closing) {
    Transport::Socket socket(io);
    const auto [problem] = co_await listener.acceptor().async_accept(socket, kTuple);
    if (shared.closing) co_return;
    if (problem) {  // file descriptors may be short: they come back when clients leave
      spdlog::warn("cannot accept a client: {}", problem.message());
      asio::steady_timer pause(io, std::chrono::milliseconds(200));
      co_await pause.async_wait(kTuple);
    } else if (shared.connections.size() >= options.max_connections) {
      turn_away(std::move(socket), shared);
    } else {
      asio::co_spawn(io, run_connection(std::move(socket), shared), asio::detached);
    }
  }
}

void HttpServer::State::begin_to_stop() {
  if (std::exchange(shared.closing, true)) return;
  spdlog::info("stopping: what runs may end within {} s",
               std::chrono::duration_cast<std::chrono::seconds>(options.drain).count());
  ErrorCode ignored;
  listener.acceptor().close(ignored);
  signals.clear(ignored);  // a second Ctrl-C ends the program at once
  signals.cancel(ignored);
  for (Connection* connection : shared.connections) {
    if (connection->idle()) connection->close();
  }
  drainer = std::thread([this, guard = asio::make_work_guard(io)] {
    service.drain(options.drain);
    asio::post(io, [this] { close_the_rest(); });
  });
}

void HttpServer::State::close_the_rest() {
  if (shared.connections.empty()) return;
  last_writes.expires_after(kLastWrites);
  last_writes.async_wait([this](ErrorCode) {
    for (Connection* connection : shared.connections) connection->close();
  });
}

void HttpServer::State::await_signal() {
  ErrorCode ignored;
  signals.add(SIGINT, ignored);
  signals.add(SIGTERM, ignored);
  signals.async_wait([this](ErrorCode problem, int) {
    if (!problem) begin_to_stop();
  });
}

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::listen(Engine& engine,
                                                       const ServerOptions& options) {
  ServerOptions complete = options;
  if (complete.model_id.empty()) complete.model_id = engine.model().name;
  SKVIS_TRY(CorsPolicy cors, CorsPolicy::parse(complete.cors_origins));
  SKVIS_TRY(TlsContext tls, tls_of(complete));
  auto state = std::make_unique<State>(engine, complete, std::move(cors), std::move(tls));
  SKVIS_CHECK(listen_at(state->listener, complete));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

uint16_t HttpServer::port() const {
  return state_->listener.port();
}

std::string HttpServer::url() const {
  const ServerOptions& options = state_->options;
  if (!options.unix_path.empty()) return "unix:" + options.unix_path;
  return fmt::format("{}://{}", state_->tls ? "https" : "http",
                     address_in_url(options.host, port()));
}

const std::string& HttpServer::model_id() const {
  return state_->options.model_id;
}

ServiceFigures HttpServer::figures() const {
  return state_->service.figures();
}

void HttpServer::run() {
  State& state = *state_;
  if (state.options.handle_signals) state.await_signal();
  asio::co_spawn(state.io, state.accept_clients(), asio::detached);
  for (;;) {
    // What is thrown outside of a coroutine, by a parser or for want of memory, ends the connection
    // it belongs to; the others go on.
    try {
      state.io.run();
      break;
    } catch (const std::exception& problem) {
      spdlog::warn("a connection ended: {}", problem.what());
    }
  }
  if (state.drainer.joinable()) state.drainer.join();
  state.worker.join();
}

void HttpServer::stop() {
  asio::post(state_->io, [state = state_.get()] { state->begin_to_stop(); });
}

Result<void> check_options(const ServerOptions& options) {
  SKVIS_CHECK(CorsPolicy::parse(options.cors_origins));
  SKVIS_CHECK(tls_of(options));
  asio::io_context io;
  Listener listener(io);
  return listen_at(listener, options);
}

Result<void> serve(Engine& engine, const ServerOptions& options) {
  SKVIS_TRY(const auto server, HttpServer::listen(engine, options));
  spdlog::info("serving {} at {}", server->model_id(), server->url());
  server->run();
  spdlog::info("stopped");
  return {};
}

}  // namespace skvis
