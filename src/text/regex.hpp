// SPDX-License-Identifier: Apache-2.0
// Regular expressions of tokenizers, run by PCRE2 on UTF-8 with Unicode properties.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace skvis {

struct TextRange {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const TextRange&) const = default;
};

// Rewrites what Oniguruma (Ruby syntax), in which tokenizer files are written, means otherwise than
// PCRE2: \s (Unicode White_Space), \w, \h (a hex digit), \uHHHH. Errors: set operations in classes.
Result<std::string> translate_regex(std::string_view pattern);

std::string quote_regex(std::string_view literal);

// Immutable once compiled; threads may share it.
class Regex {
 public:
  static Result<Regex> compile(std::string_view pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Appends all matches in `text[within]`, left to right, without overlap; empty ones are included.
  // Look-around sees `text[within]` only. `text` must be UTF-8. Error: the pattern needs more steps
  // than a match may take.
  Result<void> find_all(std::string_view text, TextRange within,
                        std::vector<TextRange>& matches) const;

 private:
  struct State;
  explicit Regex(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace skvis
