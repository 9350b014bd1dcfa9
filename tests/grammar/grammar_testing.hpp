// SPDX-License-Identifier: Apache-2.0
// What the tests of grammars share.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "grammar/gbnf.hpp"
#include "grammar/json_schema.hpp"
#include "grammar/matcher.hpp"
#include "grammar/pattern.hpp"
#include "grammar/random_text.hpp"

namespace skvis {

// Whole texts against a grammar.
class Recogniser {
 public:
  explicit Recogniser(Result<Grammar> grammar) {
    if (grammar) {
      automaton_ = byte_automaton(std::move(grammar).value());
    } else {
      ADD_FAILURE() << grammar.error().message;
    }
  }
  bool matches(std::string_view text) const {
    if (!automaton_) return false;
    GrammarMatcher matcher(automaton_);
    return matcher.accept_bytes(text).ok() && matcher.can_end();
  }
  bool begins(std::string_view text) const {
    return automaton_ && GrammarMatcher(automaton_).accept_bytes(text).ok();
  }
  const std::shared_ptr<TokenAutomaton>& automaton() const { return automaton_; }

 private:
  std::shared_ptr<TokenAutomaton> automaton_;
};

inline Recogniser gbnf(std::string_view text) {
  return Recogniser(parse_gbnf(text));
}

inline Result<Grammar> compile_schema_text(std::string_view text) {
  const auto schema = parse_json(text, "schema");
  if (!schema) return schema.error();
  return compile_json_schema(*schema);
}
inline Recogniser schema(std::string_view text) {
  return Recogniser(compile_schema_text(text));
}

// The message of a grammar that must be refused.
inline std::string refusal(const Result<Grammar>& grammar) {
  EXPECT_FALSE(grammar.ok());
  return grammar ? "" : grammar.error().message;
}

inline std::shared_ptr<const TokenVocabulary> vocabulary_of(std::vector<std::string> tokens,
                                                            std::vector<uint32_t> end_tokens) {
  auto made = TokenVocabulary::create(std::move(tokens), std::move(end_tokens));
  EXPECT_TRUE(made.ok());
  return std::move(made).value();
}

// The mask by its definition: each token is tried on a copy.
inline TokenMask mask_by_trial(const GrammarMatcher& matcher) {
  const TokenVocabulary& vocabulary = matcher.automaton().vocabulary();
  TokenMask mask(vocabulary.size());
  for (uint32_t token = 0; token < vocabulary.size(); ++token) {
    GrammarMatcher copy = matcher;
    if (copy.accept(token)) mask.allow(token);
  }
  return mask;
}

}  // namespace skvis
