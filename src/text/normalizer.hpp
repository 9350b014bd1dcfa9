// SPDX-License-Identifier: Apache-2.0
// The rewriting of text before it is cut: Unicode forms, prefixes, replacements.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "formats/tokenizer_spec.hpp"
#include "text/regex.hpp"

namespace skvis {

// How long a text of `bytes` may become when a tokenizer rewrites it. Nothing in use comes near; a
// hostile file could otherwise multiply it with every step.
size_t max_rewritten_bytes(size_t bytes);

// A ReplaceText with its pattern compiled. A literal is replaced without a regular expression.
class Replacer {
 public:
  static Result<Replacer> create(const ReplaceText& step);
  // Error: a result above `max_bytes`, a pattern that exceeds its limits.
  Result<std::string> apply(std::string_view text, size_t max_bytes) const;

 private:
  std::string literal_;  // empty when regex_ holds the pattern
  std::string content_;
  std::vector<Regex> regex_;  // none or one
};

// `text` without Unicode white space at the chosen ends.
std::string_view strip_spaces(std::string_view text, bool left, bool right);

class Normalizer {
 public:
  static Result<Normalizer> create(const std::vector<NormalizerStep>& steps);

  bool empty() const { return steps_.empty(); }

  // Errors: the result exceeds max_rewritten_bytes(), a pattern exceeds its limits.
  Result<std::string> apply(std::string_view text) const;

 private:
  using Step = std::variant<PrependText, Replacer, StripText, UnicodeForm>;
  std::vector<Step> steps_;
};

}  // namespace skvis
