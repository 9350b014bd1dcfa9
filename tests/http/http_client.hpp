// SPDX-License-Identifier: Apache-2.0
// A client of raw HTTP over a POSIX socket: tests must be able to send what no library would.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "base/json.hpp"

namespace skvis::testing {

struct ClientResponse {
  int status = 0;  // 0: the connection ended before a whole response
  std::map<std::string, std::string> headers;
  std::string body;
  Json json() const {
    auto parsed = parse_json(body, "response");
    EXPECT_TRUE(parsed.ok()) << body;
    return parsed ? *parsed : Json();
  }
};

class HttpClient {
 public:
  // `receive_buffer`: bytes that the kernel takes for a client that does not read; 0: its own
  // choice.
  explicit HttpClient(uint16_t port, int receive_buffer = 0)
      : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect(reinterpret_cast<const sockaddr*>(&address), sizeof address, receive_buffer);
  }
  // Over a UNIX socket.
  explicit HttpClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    connect(reinterpret_cast<const sockaddr*>(&address), sizeof address, 0);
  }
  virtual ~HttpClient() { close(); }
  HttpClient(const HttpClient&) = delete;

  bool connected() const { return connected_; }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send_some(bytes.data(), bytes.size());
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  bool send_post(std::string_view path, std::string_view body, std::string_view headers = {}) {
    return send(
        fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    "{}Content-Length: {}\r\n\r\n{}",
                    path, headers, body.size(), body));
  }
  ClientResponse post(std::string_view path, std::string_view body, std::string_view headers = {}) {
    send_post(path, body, headers);
    return receive();
  }
  ClientResponse get(std::string_view path, std::string_view headers = {}) {
    send(fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n{}\r\n", path, headers));
    return receive();
  }

  // The next response; `with_body` false after HEAD.
  ClientResponse receive(bool with_body = true) {
    ClientResponse response;
    if (!read_head(response) || !with_body) return response;
    bool whole = true;
    if (response.headers.contains("transfer-encoding")) {
      whole = read_chunks(response.body);
    } else if (response.headers.contains("content-length")) {
      whole = take(std::stoul(response.headers["content-length"]), response.body);
    } else if (response.status != 100) {
      while (fill()) {
      }
      response.body = std::exchange(pending_, {});
    }
    if (!whole) response.status = 0;
    return response;
  }

  // Reads until `text` has come; false when the connection ends before.
  bool receive_until(std::string_view text) {
    while (pending_.find(text) == pending_.npos) {
      if (!fill()) return false;
    }
    return true;
  }
  // Has the server closed the connection, once everything it sent is read?
  bool ended() {
    while (fill()) {
    }
    return end_;
  }

 protected:
  virtual ssize_t send_some(const char* bytes, size_t count) {
    return ::send(socket_, bytes, count, MSG_NOSIGNAL);
  }
  virtual ssize_t receive_some(char* bytes, size_t count) {
    return ::recv(socket_, bytes, count, 0);
  }
  int socket() const { return socket_; }

 private:
  void connect(const sockaddr* address, socklen_t size, int receive_buffer) {
    const timeval patience{.tv_sec = 60, .tv_usec = 0};  // a test fails rather than hangs
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (receive_buffer > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    connected_ = ::connect(socket_, address, size) == 0;
  }

  bool fill() {
    char buffer[4096];
    const ssize_t count = receive_some(buffer, sizeof buffer);
    end_ = count == 0 || (count < 0 && errno == ECONNRESET);
    if (count <= 0) return false;
    pending_.append(buffer, static_cast<size_t>(count));
    return true;
  }

  bool take_line(std::string& line) {
    while (pending_.find("\r\n") == pending_.npos) {
      if (!fill()) return false;
    }
    const size_t end = pending_.find("\r\n");
    line = pending_.substr(0, end);
    pending_.erase(0, end + 2);
    return true;
  }

  bool take(size_t count, std::string& out) {
    while (pending_.size() < count) {
      if (!fill()) return false;
    }
    out += pending_.substr(0, count);
    pending_.erase(0, count);
    return true;
  }

  bool read_head(ClientResponse& response) {
    std::string line;
    if (!take_line(line) || line.size() < 12) return false;
    response.status = std::stoi(line.substr(9, 3));
    while (take_line(line) && !line.empty()) {
      const size_t colon = line.find(": ");
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      response.headers[name] = line.substr(colon + 2);
    }
    return true;
  }

  bool read_chunks(std::string& body) {
    for (;;) {
      std::string line;
      if (!take_line(line)) return false;
      const size_t size = std::stoul(line, nullptr, 16);
      if (!take(size, body) || !take_line(line)) return false;
      if (size == 0) return true;
    }
  }

  int socket_;
  bool connected_ = false;
  bool end_ = false;
  std::string pending_;
};

}  // namespace skvis::testing
