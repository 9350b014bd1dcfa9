// SPDX-License-Identifier: Apache-2.0
// A grammar over the tokens of a model: what all texts under one grammar share. Keep it as long as
// the grammar is asked for; what one text has needed, the next one finds made.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/result.hpp"
#include "grammar/configurations.hpp"
#include "grammar/grammar.hpp"
#include "grammar/local_masks.hpp"
#include "grammar/token_vocabulary.hpp"

namespace skvis {

class TokenAutomaton {
 public:
  TokenAutomaton(Grammar grammar, std::shared_ptr<const TokenVocabulary> vocabulary);
  TokenAutomaton(const TokenAutomaton&) = delete;
  TokenAutomaton& operator=(const TokenAutomaton&) = delete;

  const Grammar& grammar() const { return grammar_; }
  const TokenVocabulary& vocabulary() const { return *vocabulary_; }
  // Memory of what has been made so far. It is bounded: what no text needs any more is dropped once
  // it exceeds kSoftBytes, masks above LocalMasks::kMaxBytes.
  size_t bytes() const;
  static constexpr size_t kSoftBytes = size_t{32} << 20;

 private:
  friend class GrammarMatcher;
  // A matcher's place; all calls from here on are made with mutex_ held.
  uint32_t add_place(ConfigurationId id);
  void begin_call();

  const Grammar grammar_;
  const std::shared_ptr<const TokenVocabulary> vocabulary_;
  mutable std::mutex mutex_;
  std::unique_ptr<Configurations> configurations_;
  LocalMasks masks_;
  size_t limit_ = kSoftBytes;
  std::vector<ConfigurationId> places_;  // kDead where free
  std::vector<uint32_t> free_places_;
};

}  // namespace skvis
