// SPDX-License-Identifier: Apache-2.0
// A request and a response as the routes see them, and a response as bytes. Knows no socket.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"

namespace skvis {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;
  std::string path;  // percent-decoded, without the query
  std::string content_type;
  std::string authorization;
  std::string origin;            // the web page that asks; empty: not said
  std::string preflight_fields;  // the headers that a page wants to send
  std::string body;
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers;  // beside those of every response
};

HttpResponse json_response(const Json& body, unsigned status = 200);

// How the connection frames a response.
struct Framing {
  bool keep_alive = true;
  bool http_1_0 = false;   // such a client knows no chunks
  bool head_only = false;  // the answer to HEAD: the length is said, the body is left out
  HttpHeaders headers;     // of every response to this request, whatever its status
};

// The whole response. Line breaks in header values become spaces.
std::string response_bytes(const HttpResponse& response, const Framing& framing);
// The head of a response whose body comes in pieces; each piece goes through body_piece(), and
// last_piece() ends it.
std::string stream_head(std::string_view content_type, const Framing& framing);
std::string body_piece(std::string_view text, const Framing& framing);
std::string_view last_piece(const Framing& framing);

// The path of a request target ("/v1/models/a%2Fb?x=1" or "http://host/v1"), decoded. Malformed
// escapes stay as they are.
std::string path_of_target(std::string_view target);

// One server-sent event.
std::string sse_event(const Json& data);
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSseKeepAlive = ": keep-alive\n\n";

}  // namespace skvis
