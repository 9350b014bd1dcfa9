// SPDX-License-Identifier: Apache-2.0
// Regular expressions, as grammars: the part of ECMAScript's and Python's notation that means the
// same in both and is regular. Characters, escapes (\d \w \s \D \W \S \t \n \r \f \v \xHH \uHHHH
// and any escaped sign), classes, groups ( ) and (?: ), alternatives, * + ? {m} {m,} {m,n} (lazy
// forms mean the same language), '.' for any character but a line's end, ^ and $ at the ends of
// alternatives. \d, \w and \s are ASCII only. Everything else is refused: look-around,
// back-references, \b, \p, flags.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "grammar/grammar.hpp"
#include "grammar/grammar_builder.hpp"

namespace skvis {

struct PatternOptions {
  // How one character of a set is written; default: as UTF-8.
  std::function<GrammarBuilder::Expression(const CodePointSet&)> character;
  // The pattern may match in the middle of the text unless ^ and $ say otherwise (JSON schema);
  // otherwise it matches the whole text.
  bool search = false;
};

constexpr size_t kMaxPatternBytes = size_t{64} << 10;

// An expression for the texts that match. Errors give the position in the pattern.
Result<GrammarBuilder::Expression> parse_pattern(GrammarBuilder& builder, std::string_view pattern,
                                                 const PatternOptions& options);

// Grammars of whole texts: one that matches the pattern, one of the choices (at least one, none
// empty only if that is meant).
Result<Grammar> compile_pattern(std::string_view pattern);
Result<Grammar> compile_choices(std::vector<std::string> choices);

}  // namespace skvis
