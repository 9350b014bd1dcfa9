// SPDX-License-Identifier: Apache-2.0
#include "grammar/random_text.hpp"

#include <random>

#include "grammar/matcher.hpp"

namespace skvis {
namespace {

ByteSet bytes_of(std::string_view text) {
  ByteSet set;
  for (const char c : text) set.set(static_cast<uint8_t>(c));
  return set;
}

// Mostly readable, and often what ends strings and lists: random bytes would rarely come to an end.
uint8_t draw(const ByteSet& allowed, std::mt19937_64& random) {
  static const ByteSet ends = bytes_of("\",]}");
  static const ByteSet readable = [] {
    ByteSet set;
    for (size_t byte = ' '; byte < 0x7f; ++byte) set.set(byte);
    return set;
  }();
  const uint64_t dice = random() % 16;
  ByteSet among = allowed & (dice < 3 ? ends : dice < 15 ? readable : allowed);
  if (among.none()) among = allowed;
  size_t skip = random() % among.count(), byte = 0;
  for (;; ++byte) {
    if (among[byte] && skip-- == 0) return static_cast<uint8_t>(byte);
  }
}

}  // namespace

std::shared_ptr<TokenAutomaton> byte_automaton(Grammar grammar) {
  auto none = TokenVocabulary::create({}, {});  // without tokens there is nothing to refuse
  return std::make_shared<TokenAutomaton>(std::move(grammar), std::move(none).value());
}

Result<std::string> random_text(const std::shared_ptr<TokenAutomaton>& automaton, uint64_t seed,
                                size_t soft_bytes) {
  std::mt19937_64 random(seed);
  GrammarMatcher matcher(automaton);
  std::string text;
  while (text.size() < soft_bytes) {
    const ByteSet allowed = matcher.next_bytes();
    if (matcher.can_end() && (allowed.none() || random() % 4 == 0)) return text;
    const auto byte = static_cast<char>(draw(allowed, random));
    SKVIS_CHECK(matcher.accept_bytes(std::string_view(&byte, 1)));
    text.push_back(byte);
  }
  SKVIS_TRY(const std::string rest, matcher.shortest_end(kMaxRandomBytes));
  return text + rest;
}

}  // namespace skvis
