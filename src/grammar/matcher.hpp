// SPDX-License-Identifier: Apache-2.0
// One text under a grammar, token by token.
//
//   auto automaton = std::make_shared<TokenAutomaton>(std::move(grammar), vocabulary);
//   GrammarMatcher matcher(automaton);                    // per text
//   TokenMask mask(vocabulary->size());
//   matcher.fill_mask(mask);                              // before each draw ...
//   sampler draws among tokens with mask.allows(token)
//   matcher.accept(token);                                // ... and after it
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "grammar/token_automaton.hpp"
#include "grammar/token_mask.hpp"

namespace skvis {

// Copies are cheap and independent. Matchers of one automaton may be used from several threads, one
// thread at a time each.
class GrammarMatcher {
 public:
  // At the beginning of a text.
  explicit GrammarMatcher(std::shared_ptr<TokenAutomaton> automaton);
  GrammarMatcher(const GrammarMatcher& other);
  GrammarMatcher& operator=(const GrammarMatcher& other);
  GrammarMatcher(GrammarMatcher&& other) noexcept;
  GrammarMatcher& operator=(GrammarMatcher&& other) noexcept;
  ~GrammarMatcher();

  // Moves on by a token. Error: it does not fit, with what would have; the place stays as it is. An
  // end token fits where the text may end, and changes nothing.
  Result<void> accept(uint32_t token);
  // The same for any bytes; `fitting` receives how many of them the grammar allows.
  Result<void> accept_bytes(std::string_view bytes, size_t* fitting = nullptr);

  // The text may end here.
  bool can_end() const;
  // Exactly the bytes that may come next, and so that some text of the grammar follows.
  ByteSet next_bytes() const;
  // Exactly the tokens after which the text is still a beginning of one of the grammar, and the end
  // tokens where it may end. `mask` must have the vocabulary's size. The answer is their number; it
  // can be 0 only where no token at all spells the bytes that must come. Error: the grammar is too
  // ambiguous here.
  Result<size_t> fill_mask(TokenMask& mask);
  // A shortest text that completes this one. Errors: more than `max_bytes`, too ambiguous.
  Result<std::string> shortest_end(size_t max_bytes) const;

  const TokenAutomaton& automaton() const { return *automaton_; }

 private:
  // Over bytes[from] and on; `at` ends behind the last byte that fits.
  Result<ConfigurationId> follow(ConfigurationId id, std::string_view bytes, size_t from,
                                 size_t& at) const;
  void release();

  std::shared_ptr<TokenAutomaton> automaton_;  // null after a move
  uint32_t place_ = 0;
};

// "'a' to 'z', '\"' or 0x80": at most a handful of ranges, for messages.
std::string describe_bytes(const ByteSet& bytes);

}  // namespace skvis
