// SPDX-License-Identifier: Apache-2.0
// The JSON facade: nlohmann's value type, a parser that bounds depth and never throws, and readers
// that name the key, the expected and the found type.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace skvis {

using Json = nlohmann::ordered_json;

// Parses UTF-8 text. `origin` (a file name, "request body") begins every message. Refuses invalid
// UTF-8, trailing text, nesting deeper than `max_depth`, and duplicate keys keep the last value.
Result<Json> parse_json(std::string_view text, std::string_view origin, size_t max_depth = 64);

// What a value is, in the words of error messages: "null", "a string", "a number", "an array", ...
std::string_view json_type(const Json& value);

// Text of a value with invalid UTF-8 replaced, never throwing.
std::string dump_json(const Json& value, int indent = -1);

// Typed members of an object. The plain form requires the key; `_or` answers the fallback when the
// key is absent or null. `where` is the object's own name: "config.json", "request",
// "plan.store[0]".
Result<std::string> json_string(const Json& object, std::string_view key, std::string_view where);
Result<std::string> json_string_or(const Json& object, std::string_view key, std::string_view where,
                                   std::string_view fallback);
Result<int64_t> json_int(const Json& object, std::string_view key, std::string_view where,
                         int64_t min, int64_t max);
Result<int64_t> json_int_or(const Json& object, std::string_view key, std::string_view where,
                            int64_t min, int64_t max, int64_t fallback);
Result<double> json_number(const Json& object, std::string_view key, std::string_view where,
                           double min, double max);
Result<double> json_number_or(const Json& object, std::string_view key, std::string_view where,
                              double min, double max, double fallback);
Result<bool> json_bool_or(const Json& object, std::string_view key, std::string_view where,
                          bool fallback);

}  // namespace skvis
