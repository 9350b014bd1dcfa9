// SPDX-License-Identifier: Apache-2.0
#include "http/listener.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstring>

namespace skvis {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Local = asio::local::stream_protocol;
using ErrorCode = boost::system::error_code;

// "[::1]" as people write it in addresses.
std::string without_brackets(const std::string& host) {
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  return brackets ? host.substr(1, host.size() - 2) : host;
}

// Makes way for a new socket at `path`: one that nobody listens on any more is removed.
Result<void> clear_path(asio::io_context& io, const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return fail("--unix {}: {}", path, std::generic_category().message(errno));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return fail("--unix {}: there is something else than a socket; choose another path", path);
  }
  Local::socket probe(io);
  ErrorCode problem;
  probe.connect(Local::endpoint(path), problem);
  if (problem != asio::error::connection_refused) {
    return fail(
        "--unix {}: another program listens there ({}); stop that one, or choose another "
        "path",
        path, problem ? problem.message() : "it answers");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail("--unix {}: cannot replace the socket of a server that is gone: {}", path,
                std::generic_category().message(errno));
  }
  return {};
}

}  // namespace

std::string address_in_url(const std::string& host, uint16_t port) {
  const std::string plain = without_brackets(host);
  const bool v6 = plain.find(':') != plain.npos;
  return v6 ? fmt::format("[{}]:{}", plain, port) : fmt::format("{}:{}", plain, port);
}

Listener::~Listener() {
  struct stat found {};
  if (path_.empty() || ::lstat(path_.c_str(), &found) != 0) return;
  if (found.st_dev == device_ && found.st_ino == inode_) ::unlink(path_.c_str());
}

Result<void> Listener::listen_tcp(const std::string& host, uint16_t port) {
  ErrorCode problem;
  tcp::resolver resolver(io_);
  const auto found = resolver.resolve(without_brackets(host), std::to_string(port),
                                      tcp::resolver::passive, problem);
  if (problem || found.empty()) {
    return fail("--host {}: no such address: {}", host, problem.message());
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), problem);
  if (!problem) acceptor_.set_option(Acceptor::reuse_address(true), problem);
  if (!problem) acceptor_.bind(endpoint, problem);
  if (!problem) acceptor_.listen(asio::socket_base::max_listen_connections, problem);
  if (problem == asio::error::address_in_use) {
    return fail(
        "port {} of {} is taken by another program; stop that one, or choose another --port", port,
        host);
  }
  if (problem) {
    return fail("cannot listen on {}: {}", address_in_url(host, port), problem.message());
  }
  tcp::endpoint bound;
  const auto local = acceptor_.local_endpoint(problem);
  if (problem) return fail("cannot read the port: {}", problem.message());
  bound.resize(local.size());
  std::memcpy(bound.data(), local.data(), local.size());
  port_ = bound.port();
  return {};
}

Result<void> Listener::listen_unix(const std::string& path) {
  constexpr size_t kLongest = sizeof(sockaddr_un{}.sun_path) - 1;
  if (path.empty() || path.size() > kLongest) {
    return fail("--unix {}: the path of a socket has 1 to {} bytes, found {}", path, kLongest,
                path.size());
  }
  SKVIS_CHECK(clear_path(io_, path));
  const Local::endpoint endpoint(path);
  ErrorCode problem;
  acceptor_.open(endpoint.protocol(), problem);
  if (!problem) acceptor_.bind(endpoint, problem);
  if (problem) return fail("--unix {}: {}", path, problem.message());
  path_ = path;
  struct stat created {};
  // Nobody can connect before listen(), so nobody slips in before the mode is set.
  if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0 || ::lstat(path.c_str(), &created) != 0) {
    return fail("--unix {}: {}", path, std::generic_category().message(errno));
  }
  device_ = created.st_dev;
  inode_ = created.st_ino;
  acceptor_.listen(asio::socket_base::max_listen_connections, problem);
  if (problem) return fail("--unix {}: {}", path, problem.message());
  return {};
}

}  // namespace skvis
