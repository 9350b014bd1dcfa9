// SPDX-License-Identifier: Apache-2.0
// Which web pages may read this server's answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "server/http_message.hpp"

namespace skvis {

class CorsPolicy {
 public:
  // `origins`: "https://page.example", with the port where it is not the scheme's own; "*" for all,
  // alone. None: no page but those of this server's own origin.
  static Result<CorsPolicy> parse(std::vector<std::string> origins);

  // For every response to a request from `origin`, which may be empty.
  HttpHeaders headers(std::string_view origin) const;
  // Beside these, for the question that a browser asks before the request itself. `fields`: the
  // headers it wants to send.
  HttpHeaders preflight(std::string_view methods, std::string_view fields) const;

 private:
  explicit CorsPolicy(std::vector<std::string> origins) : origins_(std::move(origins)) {}
  std::vector<std::string> origins_;
};

}  // namespace skvis
