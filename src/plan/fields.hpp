// SPDX-License-Identifier: Apache-2.0
// One object of a plan's JSON: typed members, and afterwards every key that nobody asked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/nearest.hpp"
#include "plan/problems.hpp"

namespace skvis {

class Fields {
 public:
  // A value that is no object is a problem, and reads as an empty one.
  Fields(const Json& object, std::string where, Problems& problems)
      : object_(object), where_(std::move(where)), problems_(problems) {
    if (!object.is_object()) {
      problems.add("{} must be an object, found {}", where_, json_type(object));
    }
  }

  bool is_object() const { return object_.is_object(); }
  // Absent and null are the same.
  bool has(std::string_view key) const { return find(key) != nullptr; }
  const Json* any(std::string_view key) { return known_.push_back(key), find(key); }

  std::optional<int64_t> whole(std::string_view key, int64_t min, int64_t max) {
    if (any(key) == nullptr) return std::nullopt;
    return take(json_int(object_, key, where_, min, max));
  }
  std::optional<double> number(std::string_view key, double min, double max) {
    if (any(key) == nullptr) return std::nullopt;
    return take(json_number(object_, key, where_, min, max));
  }
  std::optional<std::string> text(std::string_view key) {
    if (any(key) == nullptr) return std::nullopt;
    return take(json_string(object_, key, where_));
  }
  std::optional<bool> flag(std::string_view key) {
    if (any(key) == nullptr) return std::nullopt;
    return take(json_bool_or(object_, key, where_, false));
  }
  // The index of a string among `words`.
  std::optional<size_t> word(std::string_view key, std::span<const std::string_view> words) {
    const auto value = text(key);
    if (!value) return std::nullopt;
    const auto it = std::find(words.begin(), words.end(), *value);
    if (it != words.end()) return static_cast<size_t>(it - words.begin());
    problems_.add("{}: '{}' is {}{}", where_, key, in_quotes(*value), suggestion(*value, words));
    return std::nullopt;
  }

  // Keys that were never asked for are problems. One that belongs into the member `inner` is told
  // so; for the others the nearest known one is named.
  void refuse_unknown(std::string_view inner = {},
                      std::span<const std::string_view> inner_keys = {}) const {
    if (!is_object()) return;
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      if (std::find(inner_keys.begin(), inner_keys.end(), key) != inner_keys.end()) {
        problems_.add("{}: '{}' belongs inside '{}'", where_, key, inner);
      } else {
        problems_.add("{}: unknown key {}{}", where_, in_quotes(key), suggestion(key, known_));
      }
    }
  }

 private:
  const Json* find(std::string_view key) const {
    if (!object_.is_object()) return nullptr;
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  template <typename T>
  std::optional<T> take(Result<T> result) {
    if (result) return std::move(*result);
    problems_.add(result.error());
    return std::nullopt;
  }

  const Json& object_;
  std::string where_;
  Problems& problems_;
  std::vector<std::string_view> known_;
};

}  // namespace skvis
