// SPDX-License-Identifier: Apache-2.0
// The way to make a Grammar: expressions from small to large, rules that may refer to each other,
// and one build. Errors are collected and answered by build(), so that callers compose freely.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "grammar/code_points.hpp"
#include "grammar/grammar.hpp"

namespace skvis {

class GrammarBuilder {
 public:
  // Both are indices: cheap to copy, valid in their own builder only.
  struct Expression {
    uint32_t index = 0;
  };
  struct RuleId {
    uint32_t index = 0;
  };

  GrammarBuilder();

  Expression nothing() const { return {0}; }  // matches no text at all
  Expression empty() const { return {1}; }    // matches the empty text
  Expression bytes(const ByteSet& set);
  Expression literal(std::string_view text);
  // One character of the set, as UTF-8.
  Expression character(const CodePointSet& set);
  Expression sequence(const std::vector<Expression>& parts);
  Expression choice(const std::vector<Expression>& alternatives);
  // `min` to `max` times, kUnlimited for no bound. Costs `max` states, whatever the element is.
  Expression repeat(Expression element, uint32_t min, uint32_t max);
  Expression optional(Expression element) { return choice({element, empty()}); }
  // One of the texts, as a tree of common beginnings.
  Expression one_of(std::vector<std::string> texts);

  RuleId add_rule(std::string name);  // the name is for messages; it need not be unique
  void define(RuleId rule, Expression body);
  bool defined(RuleId rule) const { return rules_[rule.index].defined; }
  Expression reference(RuleId rule);

  // Compiles what `root` reaches. Errors: left recursion, no text at all, a grammar beyond
  // kMaxStates states or kMaxEdges edges, nesting of expressions beyond kMaxDepth, an undefined
  // rule.
  Result<Grammar> build(RuleId root) const;

  static constexpr uint32_t kMaxStates = 1u << 18;
  static constexpr uint32_t kMaxEdges = 1u << 20;
  static constexpr uint32_t kMaxDepth = 1000;
  static constexpr uint32_t kMaxExpressions = 1u << 21;

 private:
  friend class GrammarCompiler;
  enum class Kind : uint8_t { nothing, empty, bytes, literal, sequence, choice, repeat, reference };
  struct Node {
    Kind kind;
    uint32_t depth = 0;
    uint32_t a = 0;  // set, rule, element, or begin in parts_ or text_
    uint32_t b = 0;  // end in parts_ or text_, or min
    uint32_t c = 0;  // max
  };
  struct NamedRule {
    std::string name;
    Expression body;
    bool defined = false;
  };

  Expression add(Node node);
  Expression add_parts(Kind kind, const std::vector<Expression>& parts);
  Expression tree(const std::vector<std::string>& texts, size_t begin, size_t end, size_t skip,
                  uint32_t levels);
  Expression many_bytes(const CodePointSet& set);

  std::vector<Node> nodes_;
  std::vector<uint32_t> parts_;
  std::string text_;
  std::vector<ByteSet> sets_;
  std::unordered_map<ByteSet, uint32_t> set_ids_;
  std::vector<NamedRule> rules_;
  std::map<CodePointSet, Expression> characters_;  // sets of more than ASCII
  bool too_large_ = false;
};

}  // namespace skvis
