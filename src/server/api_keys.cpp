// SPDX-License-Identifier: Apache-2.0
#include "server/api_keys.hpp"

#include <algorithm>

namespace skvis {
namespace {

// Looks at every byte of `given` whatever differs.
bool equal_in_constant_time(std::string_view given, std::string_view key) {
  size_t difference = given.size() ^ key.size();
  for (size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<size_t>(static_cast<uint8_t>(given[i]) ^
                                      static_cast<uint8_t>(key[i % key.size()]));
  }
  return difference == 0;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

bool is_bearer(std::string_view word) {
  constexpr std::string_view kBearer = "bearer ";
  return word.size() == kBearer.size() &&
         std::equal(word.begin(), word.end(), kBearer.begin(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

}  // namespace

bool ApiKeys::allow(std::string_view authorization) const {
  if (keys_.empty()) return true;
  if (!is_bearer(authorization.substr(0, 7))) return false;
  const std::string_view given = trim(authorization.substr(7));
  bool allowed = false;
  for (const std::string& key : keys_) allowed |= equal_in_constant_time(given, key);
  return allowed;
}

Result<std::vector<std::string>> parse_api_keys(std::string_view text, std::string_view origin) {
  std::vector<std::string> keys;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty()) continue;
    if (std::any_of(line.begin(), line.end(), [](char c) { return c <= ' ' || c > '~'; })) {
      return fail("{}:{}: a key may hold visible ASCII characters only", origin, number);
    }
    keys.emplace_back(line);
  }
  if (keys.empty()) return fail("{}: there is no key in it; expected one per line", origin);
  return keys;
}

}  // namespace skvis
