// SPDX-License-Identifier: Apache-2.0
#include "grammar/token_automaton.hpp"

#include <algorithm>

namespace skvis {

TokenAutomaton::TokenAutomaton(Grammar grammar, std::shared_ptr<const TokenVocabulary> vocabulary)
    : grammar_(std::move(grammar)),
      vocabulary_(std::move(vocabulary)),
      configurations_(std::make_unique<Configurations>(grammar_)),
      masks_(grammar_, *vocabulary_) {}

size_t TokenAutomaton::bytes() const {
  const std::lock_guard lock(mutex_);
  return configurations_->bytes() + masks_.bytes();
}

uint32_t TokenAutomaton::add_place(ConfigurationId id) {
  if (free_places_.empty()) {
    places_.push_back(id);
    return static_cast<uint32_t>(places_.size() - 1);
  }
  const uint32_t place = free_places_.back();
  free_places_.pop_back();
  places_[place] = id;
  return place;
}

void TokenAutomaton::begin_call() {
  if (configurations_->bytes() > limit_) {
    configurations_ = configurations_->compacted(places_);
    limit_ = std::max(kSoftBytes, 2 * configurations_->bytes());
  }
  configurations_->allow_work();
}

}  // namespace skvis
