// SPDX-License-Identifier: Apache-2.0
#include "server/cors.hpp"

#include <algorithm>

namespace skvis {
namespace {

constexpr std::string_view kAll = "*";

// scheme "://" host and nothing after it: what a browser sends as Origin.
bool is_origin(std::string_view text) {
  const size_t scheme = text.find("://");
  if (scheme == text.npos || scheme == 0) return false;
  const std::string_view host = text.substr(scheme + 3);
  return !host.empty() &&
         std::none_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c > '~'; }) &&
         host.find_first_of("/?#@") == host.npos;
}

}  // namespace

Result<CorsPolicy> CorsPolicy::parse(std::vector<std::string> origins) {
  for (const std::string& origin : origins) {
    if (origin == kAll && origins.size() > 1) {
      return fail("--cors-origin: '*' means every page; leave it out or give it alone");
    }
    // "null" is what pages from files say, and pages that hide where they come from.
    if (origin != kAll && origin != "null" && !is_origin(origin)) {
      return fail(
          "--cors-origin {}: expected '*', 'null' or an origin such as https://page.example:8443, "
          "without a path",
          origin);
    }
  }
  return CorsPolicy(std::move(origins));
}

HttpHeaders CorsPolicy::headers(std::string_view origin) const {
  if (origins_.empty()) return {};
  const bool all = origins_.front() == kAll;
  HttpHeaders headers;
  if (!all) headers.emplace_back("Vary", "Origin");  // or a cache hands one page another's answer
  if (all || std::find(origins_.begin(), origins_.end(), origin) != origins_.end()) {
    headers.emplace_back("Access-Control-Allow-Origin", all ? kAll : origin);
    headers.emplace_back("Access-Control-Expose-Headers", "Retry-After");
  }
  return headers;
}

HttpHeaders CorsPolicy::preflight(std::string_view methods, std::string_view fields) const {
  if (origins_.empty()) return {};
  // Client libraries send headers of their own, so what is asked for is what is allowed. '*' would
  // not cover Authorization.
  return {{"Access-Control-Allow-Methods", std::string(methods)},
          {"Access-Control-Allow-Headers",
           std::string(fields.empty() ? "Authorization, Content-Type" : fields)},
          {"Access-Control-Max-Age", "86400"}};
}

}  // namespace skvis
