// SPDX-License-Identifier: Apache-2.0
// Who may call.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace skvis {

class ApiKeys {
 public:
  // No keys: everyone may.
  explicit ApiKeys(std::vector<std::string> keys) : keys_(std::move(keys)) {}
  // `authorization`: the header's value, "Bearer KEY". How long this takes tells nothing about how
  // much of a key was right.
  bool allow(std::string_view authorization) const;

 private:
  std::vector<std::string> keys_;
};

// One key per line; blank lines are skipped. `origin` is the file's name. Refused without any key
// and where a key holds what no header can carry.
Result<std::vector<std::string>> parse_api_keys(std::string_view text, std::string_view origin);

}  // namespace skvis
