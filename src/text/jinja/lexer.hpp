// SPDX-License-Identifier: Apache-2.0
// Template text -> tokens, with white space removed as chat templates expect it: the newline after
// a block tag and the blanks before one go (trim_blocks, lstrip_blocks), `-` removes all white
// space on its side, `+` keeps it, and one newline at the very end of the template is dropped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace skvis::jinja {

struct Token {
  enum class Kind {
    kText,         // text outside of tags
    kBlockBegin,   // {%
    kBlockEnd,     // %}
    kOutputBegin,  // {{
    kOutputEnd,    // }}
    kName,
    kString,   // text: the content with escapes resolved
    kInteger,  // number
    kFloat,    // real
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  int line = 1;
  std::string text = {};
  int64_t number = 0;
  double real = 0;
};

// How an error message names a token: "name 'endif'", "'%}'", "the end of the template".
std::string describe(const Token& token);

// The last token is always kEnd. Errors name the line.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace skvis::jinja
