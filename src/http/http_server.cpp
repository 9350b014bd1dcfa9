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

namespace skvis {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
// For clients to take their last pieces when nothing is generated any more.
constexpr std::chrono::seconds kLastWrites{2};

std::string host_in_url(const std::string& host) {
  return host.find(':') == host.npos ? host : "[" + host + "]";
}

// "[::1]" as people write it in addresses.
std::string without_brackets(const std::string& host) {
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  return brackets ? host.substr(1, host.size() - 2) : host;
}

Result<void> open_acceptor(tcp::acceptor& acceptor, asio::io_context& io, const std::string& host,
                           uint16_t port) {
  ErrorCode problem;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, problem);
  if (problem || found.empty()) {
    return fail("--host {}: no such address: {}", host, problem.message());
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), problem);
  if (!problem) acceptor.set_option(tcp::acceptor::reuse_address(true), problem);
  if (!problem) acceptor.bind(endpoint, problem);
  if (!problem) acceptor.listen(asio::socket_base::max_listen_connections, problem);
  if (problem == asio::error::address_in_use) {
    return fail(
        "port {} of {} is taken by another program; stop that one, or choose another --port", port,
        host);
  }
  if (problem)
    return fail("cannot listen on {}:{}: {}", host_in_url(host), port, problem.message());
  return {};
}

// Too many clients: one line, and the door.
void turn_away(tcp::socket socket) {
  const std::string bytes =
      response_bytes(error_response(overloaded(503, "too many connections; try again in a moment")),
                     {.keep_alive = false});
  ErrorCode ignored;
  socket.non_blocking(true, ignored);
  socket.send(asio::buffer(bytes), 0, ignored);
}

asio::awaitable<void> run_connection(tcp::socket socket, HttpShared& shared) {
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
  State(Engine& engine, const ServerOptions& given)
      : options(given),
        metrics(options.model_id),
        router({.engine = engine,
                .model_id = options.model_id,
                .default_max_tokens = options.default_max_tokens,
                .started = std::time(nullptr)},
               ApiKeys(options.api_keys), metrics, [this] { return service.figures(); }),
        service(engine, options.queue, {.most_running = options.parallel}) {}

  asio::awaitable<void> accept_clients();
  void begin_to_stop();
  void await_signal();
  void close_the_rest();

  const ServerOptions options;
  asio::io_context io{1};
  asio::thread_pool worker{1};
  tcp::acceptor acceptor{io};
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
                    .metrics = metrics};
  std::thread drainer;
  uint16_t port = 0;
};

asio::awaitable<void> HttpServer::State::accept_clients() {
  while (!shared.closing) {
    tcp::socket socket(io);
    const auto [problem] = co_await acceptor.async_accept(socket, kTuple);
    if (shared.closing) co_return;
    if (problem) {  // file descriptors may be short: they come back when clients leave
      spdlog::warn("cannot accept a client: {}", problem.message());
      asio::steady_timer pause(io, std::chrono::milliseconds(200));
      co_await pause.async_wait(kTuple);
    } else if (shared.connections.size() >= options.max_connections) {
      turn_away(std::move(socket));
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
  acceptor.close(ignored);
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
  complete.host = without_brackets(complete.host);
  auto state = std::make_unique<State>(engine, complete);
  SKVIS_CHECK(open_acceptor(state->acceptor, state->io, complete.host, complete.port));
  ErrorCode problem;
  state->port = state->acceptor.local_endpoint(problem).port();
  if (problem) return fail("cannot read the port: {}", problem.message());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

uint16_t HttpServer::port() const {
  return state_->port;
}

std::string HttpServer::url() const {
  return fmt::format("http://{}:{}", host_in_url(state_->options.host), state_->port);
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
  state.io.run();
  if (state.drainer.joinable()) state.drainer.join();
  state.worker.join();
}

void HttpServer::stop() {
  asio::post(state_->io, [state = state_.get()] { state->begin_to_stop(); });
}

Result<void> check_address(const ServerOptions& options) {
  asio::io_context io;
  tcp::acceptor acceptor(io);
  return open_acceptor(acceptor, io, without_brackets(options.host), options.port);
}

Result<void> serve(Engine& engine, const ServerOptions& options) {
  SKVIS_TRY(const auto server, HttpServer::listen(engine, options));
  spdlog::info("serving {} at {}", server->model_id(), server->url());
  server->run();
  spdlog::info("stopped");
  return {};
}

}  // namespace skvis
