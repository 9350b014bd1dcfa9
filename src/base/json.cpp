// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <cmath>
#include <vector>

namespace skvis {
namespace {

// Members that one object may have: looking a key up is linear in our ordered objects, and building
// one looks up every key.
constexpr size_t kMaxMembers = 20000;

// Counts nesting and members before nlohmann builds anything, so that they cost no memory, no stack
// and no time.
Result<void> check_extent(std::string_view text, std::string_view origin, size_t max_depth) {
  std::vector<size_t> members;  // by level
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (members.size() == max_depth) {
        return fail("{}: JSON is nested deeper than {} levels", origin, max_depth);
      }
      members.push_back(0);
    } else if ((c == '}' || c == ']') && !members.empty()) {
      members.pop_back();
    } else if (c == ':' && !members.empty() && ++members.back() > kMaxMembers) {
      return fail("{}: a JSON object has more than {} members", origin, kMaxMembers);
    }
  }
  return {};
}

const Json* find(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Error missing(std::string_view key, std::string_view where, std::string_view expected) {
  return fail("{}: '{}' is missing, expected {}", where, key, expected);
}

Error mistyped(const Json& value, std::string_view key, std::string_view where,
               std::string_view expected) {
  return fail("{}: '{}' must be {}, found {}", where, key, expected, json_type(value));
}

Result<int64_t> read_int(const Json& value, std::string_view key, std::string_view where,
                         int64_t min, int64_t max) {
  int64_t number = 0;
  if (value.is_number_unsigned()) {
    const auto wide = value.get<uint64_t>();
    if (wide > static_cast<uint64_t>(INT64_MAX)) {
      return fail("{}: '{}' must be between {} and {}, found {}", where, key, min, max, wide);
    }
    number = static_cast<int64_t>(wide);
  } else if (value.is_number_integer()) {
    number = value.get<int64_t>();
  } else if (value.is_number_float() &&
             std::nearbyint(value.get<double>()) == value.get<double>() &&
             std::abs(value.get<double>()) < 9e15) {
    number = static_cast<int64_t>(value.get<double>());  // 1e4 and 1024.0 are whole numbers too
  } else {
    return mistyped(value, key, where, "a whole number");
  }
  if (number < min || number > max) {
    return fail("{}: '{}' must be between {} and {}, found {}", where, key, min, max, number);
  }
  return number;
}

Result<double> read_number(const Json& value, std::string_view key, std::string_view where,
                           double min, double max) {
  if (!value.is_number()) return mistyped(value, key, where, "a number");
  const double number = value.get<double>();
  if (!(number >= min && number <= max)) {
    return fail("{}: '{}' must be between {} and {}, found {}", where, key, min, max, number);
  }
  return number;
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view origin, size_t max_depth) {
  SKVIS_CHECK(check_extent(text, origin, max_depth));
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& problem) {
    std::string_view what = problem.what();
    if (const auto end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
    return fail("{}: not valid JSON: {}", origin, what);
  } catch (const std::exception& problem) {
    return fail("{}: not valid JSON: {}", origin, problem.what());
  }
}

std::string_view json_type(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "true or false";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
    case Json::value_t::number_float:
      return "a number";
    default:
      return "binary data";
  }
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Result<std::string> json_string(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = find(object, key);
  if (value == nullptr) return missing(key, where, "a string");
  if (!value->is_string()) return mistyped(*value, key, where, "a string");
  return value->get<std::string>();
}

Result<std::string> json_string_or(const Json& object, std::string_view key, std::string_view where,
                                   std::string_view fallback) {
  if (find(object, key) == nullptr) return std::string(fallback);
  return json_string(object, key, where);
}

Result<int64_t> json_int(const Json& object, std::string_view key, std::string_view where,
                         int64_t min, int64_t max) {
  const Json* value = find(object, key);
  if (value == nullptr) return missing(key, where, "a whole number");
  return read_int(*value, key, where, min, max);
}

Result<int64_t> json_int_or(const Json& object, std::string_view key, std::string_view where,
                            int64_t min, int64_t max, int64_t fallback) {
  const Json* value = find(object, key);
  if (value == nullptr) return fallback;
  return read_int(*value, key, where, min, max);
}

Result<double> json_number(const Json& object, std::string_view key, std::string_view where,
                           double min, double max) {
  const Json* value = find(object, key);
  if (value == nullptr) return missing(key, where, "a number");
  return read_number(*value, key, where, min, max);
}

Result<double> json_number_or(const Json& object, std::string_view key, std::string_view where,
                              double min, double max, double fallback) {
  const Json* value = find(object, key);
  if (value == nullptr) return fallback;
  return read_number(*value, key, where, min, max);
}

Result<bool> json_bool_or(const Json& object, std::string_view key, std::string_view where,
                          bool fallback) {
  const Json* value = find(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return mistyped(*value, key, where, "true or false");
  return value->get<bool>();
}

}  // namespace skvis
