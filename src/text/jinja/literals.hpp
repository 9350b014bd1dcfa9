// SPDX-License-Identifier: Apache-2.0
// Number and string literals, as Python and Jinja write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace skvis::jinja {

struct NumberLiteral {
  size_t size = 0;  // bytes of text it takes
  bool is_float = false;
  int64_t integer = 0;
  double real = 0;
};

// The number that `text` begins with (a digit is there). Digits may be grouped by '_'. Without
// `may_be_float` only an integer is read: in `rows.1.5` each part is an index.
Result<NumberLiteral> read_number(std::string_view text, bool may_be_float);

// Resolves backslash escapes; an unknown one stays as it is written.
Result<std::string> unescape(std::string_view text);

// Python's int(text, base) and float(text): white space around is allowed, anything else is not.
bool parse_integer(std::string_view text, int base, int64_t& number);
bool parse_float(std::string_view text, double& number);

}  // namespace skvis::jinja
