// SPDX-License-Identifier: Apache-2.0
// Grammars, schemas and patterns from anywhere, and texts read under them. The first byte says what
// the rest is. Whatever compiles must keep its promises: masks by definition, ends that fit.
#include <cstdint>

#include "grammar/gbnf.hpp"
#include "grammar/json_schema.hpp"
#include "grammar/matcher.hpp"
#include "grammar/pattern.hpp"
#include "grammar/random_text.hpp"

namespace {

using namespace skvis;

Result<Grammar> compile(uint8_t kind, std::string_view text) {
  if (kind % 4 == 0) return parse_gbnf(text);
  if (kind % 4 == 1) return compile_pattern(text);
  SKVIS_TRY(const Json schema, parse_json(text, "schema"));
  return compile_json_schema(schema, {.compact = kind % 4 == 2});
}

// The mask and the same by trying each token.
void check_mask(GrammarMatcher& matcher) {
  const TokenVocabulary& vocabulary = matcher.automaton().vocabulary();
  TokenMask mask(vocabulary.size());
  if (!matcher.fill_mask(mask)) return;
  for (uint32_t token = 0; token < vocabulary.size(); ++token) {
    GrammarMatcher copy = matcher;
    if (copy.accept(token).ok() != mask.allows(token)) __builtin_trap();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 2000) return 0;
  static const auto vocabulary = *TokenVocabulary::create(
      {"",   "a",    "{",    "}", "\"", "[",  "]",   "1", "\":", "\",\"", "{\"",
       "aa", "\xc3", "\xa9", " ", "\n", "12", "a\"", "-", "}}",  "true",  "0."},
      {0});
  auto grammar =
      compile(data[0], std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  if (!grammar) {
    if (grammar.error().message.empty()) __builtin_trap();
    return 0;
  }
  // Large ones are compiled above; what runs here is quadratic in the vocabulary.
  if (grammar->states() > 20000) return 0;
  const auto automaton = std::make_shared<TokenAutomaton>(std::move(*grammar), vocabulary);
  const auto text = random_text(automaton, data[1], 40);
  if (!text) return 0;
  GrammarMatcher matcher(automaton);
  for (size_t at = 0; at < text->size() && at < 24; ++at) {
    check_mask(matcher);
    if (!matcher.accept_bytes(std::string_view(*text).substr(at, 1))) return 0;  // too ambiguous
  }
  if (text->size() <= 24 && !matcher.can_end()) __builtin_trap();
  check_mask(matcher);
  return 0;
}
