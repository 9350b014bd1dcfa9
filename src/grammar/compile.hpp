// SPDX-License-Identifier: Apache-2.0
// Between a GrammarBuilder and a Grammar: edges as they are made, before anything is known of them.
#pragma once

#include <vector>

#include "base/result.hpp"
#include "grammar/grammar.hpp"
#include "grammar/grammar_builder.hpp"

namespace skvis {

struct RawGrammar {
  struct Edge {
    uint32_t from;
    uint32_t to;
    uint32_t label = 0;  // byte edges: set; calls: rule; empty edges: unused
  };
  std::vector<Grammar::Rule> rules;  // name, start and end
  std::vector<uint32_t> state_rule;  // [states]
  std::vector<Edge> bytes, calls, empties;
  std::vector<ByteSet> sets;
  std::vector<Grammar::Repetition> repetitions;  // sorted by first_state
};

// Automata of `root`, which becomes rule 0, and of all rules that it reaches.
Result<RawGrammar> compile_rules(const GrammarBuilder& builder, GrammarBuilder::RuleId root);

// Removes what can never become a text and works out what a Grammar knows of its states.
Result<Grammar> analyse_grammar(RawGrammar raw);

}  // namespace skvis
