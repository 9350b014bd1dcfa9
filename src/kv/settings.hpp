// SPDX-License-Identifier: Apache-2.0
// Parameters of selectors and budgets, as plain data: what a plan may set, and what it has set.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace skvis {

struct Parameter {
  std::string_view name;
  double fallback = 0;
  double min = 0;
  double max = 0;
  bool whole = true;                             // refuse fractions
  bool odd = false;                              // refuse even numbers
  std::span<const std::string_view> words = {};  // if not empty: the value is an index into these
};

// Settings as a plan gives them, already checked against their parameters.
using Settings = std::map<std::string, double, std::less<>>;

// What `settings` say of a parameter, or its fallback.
inline double value_of(const Settings& settings, const Parameter& parameter) {
  const auto it = settings.find(parameter.name);
  return it != settings.end() ? it->second : parameter.fallback;
}
inline uint32_t whole_of(const Settings& settings, const Parameter& parameter) {
  return static_cast<uint32_t>(value_of(settings, parameter));
}

}  // namespace skvis
