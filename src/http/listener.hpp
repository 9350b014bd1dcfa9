// SPDX-License-Identifier: Apache-2.0
// Where clients come in: a TCP port or a UNIX socket.
#pragma once

#include <sys/types.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace skvis {

class Listener {
 public:
  using Acceptor = boost::asio::basic_socket_acceptor<boost::asio::generic::stream_protocol>;

  explicit Listener(boost::asio::io_context& io) : io_(io), acceptor_(io) {}
  Listener(const Listener&) = delete;
  ~Listener();  // the socket's file goes away too

  // `host`: a name, an IPv4 or an IPv6 address; port 0: a free one. Fails when the address cannot
  // be had.
  Result<void> listen_tcp(const std::string& host, uint16_t port);
  // Creates `path` with mode 0600. What a server left there that lives no more is replaced; fails
  // when one that lives listens there, or when the path is something else than a socket.
  Result<void> listen_unix(const std::string& path);

  Acceptor& acceptor() { return acceptor_; }
  uint16_t port() const { return port_; }  // 0 for a UNIX socket

 private:
  boost::asio::io_context& io_;
  Acceptor acceptor_;
  uint16_t port_ = 0;
  std::string path_;  // ours to remove, as long as it is this file
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// "[::1]:8080": IPv6 addresses get their brackets.
std::string address_in_url(const std::string& host, uint16_t port);

}  // namespace skvis
