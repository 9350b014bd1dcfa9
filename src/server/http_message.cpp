// SPDX-License-Identifier: Apache-2.0
#include "server/http_message.hpp"

#include <ctime>

namespace skvis {
namespace {

std::string_view reason(unsigned status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Payload Too Large";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "Unknown";
  }
}

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[64];
  const size_t length = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text, length};
}

void add_header(std::string& head, std::string_view name, std::string_view value) {
  head += name;
  head += ": ";
  for (const char c : value) head += c == '\r' || c == '\n' ? ' ' : c;
  head += "\r\n";
}

std::string head_of(unsigned status, std::string_view content_type, const Framing& framing) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", status, reason(status));
  add_header(head, "Date", date_now());
  add_header(head, "Server", "skvis/" SKVIS_VERSION);
  if (!content_type.empty()) add_header(head, "Content-Type", content_type);
  add_header(head, "Connection", framing.keep_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : framing.headers) add_header(head, name, value);
  return head;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

HttpResponse json_response(const Json& body, unsigned status) {
  return {.status = status, .body = dump_json(body) + "\n"};
}

std::string response_bytes(const HttpResponse& response, const Framing& framing) {
  std::string bytes = head_of(response.status, response.content_type, framing);
  for (const auto& [name, value] : response.headers) add_header(bytes, name, value);
  // 204 has no body by definition, and no length (RFC 9110, 8.6).
  if (response.status != 204) {
    add_header(bytes, "Content-Length", std::to_string(response.body.size()));
  }
  bytes += "\r\n";
  if (!framing.head_only) bytes += response.body;
  return bytes;
}

std::string stream_head(std::string_view content_type, const Framing& framing) {
  std::string head = head_of(200, content_type, framing);
  add_header(head, "Cache-Control", "no-cache");
  add_header(head, "X-Accel-Buffering", "no");  // nginx would hold the pieces back
  if (!framing.http_1_0) add_header(head, "Transfer-Encoding", "chunked");
  return head + "\r\n";
}

std::string body_piece(std::string_view text, const Framing& framing) {
  if (framing.http_1_0 || text.empty()) return std::string(text);
  return fmt::format("{:x}\r\n{}\r\n", text.size(), text);
}

std::string_view last_piece(const Framing& framing) {
  return framing.http_1_0 ? "" : "0\r\n\r\n";
}

std::string path_of_target(std::string_view target) {
  if (const auto scheme = target.find("://"); scheme != target.npos && target.front() != '/') {
    target.remove_prefix(scheme + 3);
    target.remove_prefix(std::min(target.size(), target.find('/')));
  }
  target = target.substr(0, target.find_first_of("?#"));
  std::string path;
  for (size_t i = 0; i < target.size(); ++i) {
    const int high = target[i] == '%' && i + 2 < target.size() ? hex_digit(target[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(target[i + 2]) : -1;
    if (low >= 0) {
      path += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      path += target[i];
    }
  }
  return path.empty() ? "/" : path;
}

std::string sse_event(const Json& data) {
  return "data: " + dump_json(data) + "\n\n";
}

}  // namespace skvis
