// SPDX-License-Identifier: Apache-2.0
// GBNF, the grammar notation of llama.cpp (its grammars/README.md):
//
//   root  ::= "[" item ("," item)* "]"     # the text is what `root` matches
//   item  ::= [a-z0-9_]+ | "\"" [^"\\]{0,20} "\""
//
// Strings and classes are of characters; escapes are \n \r \t \\ \" \[ \] \xHH \uHHHH \UHHHHHHHH.
// Repetitions are * + ? {m} {m,} {m,n}. Alternatives may go on in the next line.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "grammar/grammar.hpp"

namespace skvis {

constexpr size_t kMaxGbnfBytes = size_t{1} << 20;

// Errors, with line and column where there is one: syntax, a rule that is undefined or defined
// twice, no rule `root`, left recursion, a grammar beyond the limits of GrammarBuilder.
Result<Grammar> parse_gbnf(std::string_view text);

}  // namespace skvis
