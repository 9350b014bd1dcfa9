// SPDX-License-Identifier: Apache-2.0
// Texts of a grammar without a model: to see what it allows, and to test what reads them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "grammar/token_automaton.hpp"

namespace skvis {

// A random text, the same for the same seed. Once it has `soft_bytes` bytes it is completed in the
// shortest way. Error: that takes more than kMaxRandomBytes, or the grammar is too ambiguous.
Result<std::string> random_text(const std::shared_ptr<TokenAutomaton>& automaton, uint64_t seed,
                                size_t soft_bytes);

constexpr size_t kMaxRandomBytes = size_t{1} << 20;

// An automaton for bytes alone: its vocabulary has no tokens.
std::shared_ptr<TokenAutomaton> byte_automaton(Grammar grammar);

}  // namespace skvis
