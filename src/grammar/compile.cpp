// SPDX-License-Identifier: Apache-2.0
// Expressions to automata, after Thompson: an expression becomes edges between two given states.
#include "grammar/compile.hpp"

#include <string_view>
#include <unordered_map>

namespace skvis {

class GrammarCompiler {
 public:
  explicit GrammarCompiler(const GrammarBuilder& builder) : builder_(builder) {
    raw_.sets = builder.sets_;
  }

  Result<RawGrammar> run(GrammarBuilder::RuleId root) {
    named_rule(root.index);
    // Rules are added while others are compiled, and come later in the list.
    for (size_t i = 0; i < bodies_.size() && error_.empty(); ++i) {
      rule_ = static_cast<uint32_t>(i);
      const uint32_t start = add_states(1), end = add_states(1);
      raw_.rules[i].start = start;
      raw_.rules[i].end = end;
      compile(bodies_[i], start, end);
    }
    if (!error_.empty()) return Error{error_};
    skip_plain_states();
    return std::move(raw_);
  }

 private:
  using Kind = GrammarBuilder::Kind;
  using Node = GrammarBuilder::Node;

  uint32_t named_rule(uint32_t index) {
    const auto [known, fresh] = named_.try_emplace(index, static_cast<uint32_t>(bodies_.size()));
    if (!fresh) return known->second;
    const auto& rule = builder_.rules_[index];
    if (!rule.defined && error_.empty()) error_ = fmt::format("rule '{}' is undefined", rule.name);
    return add_rule(rule.name, rule.body.index);
  }

  // A rule of its own for the element of a repetition, so that a copy of it is one edge.
  uint32_t element_rule(uint32_t node) {
    const auto [known, fresh] = elements_.try_emplace(node, static_cast<uint32_t>(bodies_.size()));
    return fresh ? add_rule(raw_.rules[rule_].name, node) : known->second;
  }

  uint32_t add_rule(std::string name, uint32_t body) {
    raw_.rules.push_back({.name = std::move(name)});
    bodies_.push_back(body);
    return static_cast<uint32_t>(bodies_.size() - 1);
  }

  // The first of `count` new states of the current rule.
  uint32_t add_states(uint32_t count) {
    const size_t first = raw_.state_rule.size();
    if (count > GrammarBuilder::kMaxStates || first + count > GrammarBuilder::kMaxStates) {
      if (error_.empty()) {
        error_ = fmt::format(
            "the grammar is too large: rule '{}' takes it above {} states; lower the counts of "
            "repetitions (a bound of n takes n states) or leave them out",
            raw_.rules[rule_].name, GrammarBuilder::kMaxStates);
      }
      return 0;
    }
    raw_.state_rule.resize(first + count, rule_);
    return static_cast<uint32_t>(first);
  }

  void add_edge(std::vector<RawGrammar::Edge>& edges, RawGrammar::Edge edge) {
    if (raw_.bytes.size() + raw_.calls.size() + raw_.empties.size() < GrammarBuilder::kMaxEdges) {
      edges.push_back(edge);
    } else if (error_.empty()) {
      error_ = fmt::format("the grammar is too large: rule '{}' takes it above {} edges",
                           raw_.rules[rule_].name, GrammarBuilder::kMaxEdges);
    }
  }
  void add_empty(uint32_t from, uint32_t to) {
    if (from != to) add_edge(raw_.empties, {from, to});
  }

  void compile(uint32_t index, uint32_t from, uint32_t to) {
    if (!error_.empty()) return;
    const Node& node = builder_.nodes_[index];
    if (node.depth > GrammarBuilder::kMaxDepth) {
      error_ = fmt::format("rule '{}' is nested deeper than {} levels", raw_.rules[rule_].name,
                           GrammarBuilder::kMaxDepth);
      return;
    }
    switch (node.kind) {
      case Kind::nothing:
        break;
      case Kind::empty:
        add_empty(from, to);
        break;
      case Kind::bytes:
        add_edge(raw_.bytes, {from, to, node.a});
        break;
      case Kind::reference:
        add_edge(raw_.calls, {from, to, named_rule(node.a)});
        break;
      case Kind::literal:
        compile_literal(std::string_view(builder_.text_).substr(node.a, node.b - node.a), from, to);
        break;
      case Kind::sequence:
        for (uint32_t i = node.a; i < node.b; ++i) {
          const uint32_t next = i + 1 < node.b ? add_states(1) : to;
          compile(builder_.parts_[i], from, next);
          from = next;
        }
        break;
      case Kind::choice:
        for (uint32_t i = node.a; i < node.b; ++i) compile(builder_.parts_[i], from, to);
        break;
      case Kind::repeat:
        compile_repeat(node, from, to);
        break;
    }
  }

  void compile_literal(std::string_view text, uint32_t from, uint32_t to) {
    for (size_t i = 0; i < text.size() && error_.empty(); ++i) {
      const uint32_t next = i + 1 < text.size() ? add_states(1) : to;
      add_edge(raw_.bytes, {from, next, set_of(static_cast<uint8_t>(text[i]))});
      from = next;
    }
  }

  uint32_t set_of(uint8_t byte) {
    uint32_t& id = single_sets_[byte];
    if (id == 0) {
      raw_.sets.push_back(ByteSet().set(byte));
      id = static_cast<uint32_t>(raw_.sets.size());  // plus one: zero is unknown
    }
    return id - 1;
  }

  // Needs no states between its ends, so copies cost edges only.
  bool is_small(uint32_t index) const {
    const Node& node = builder_.nodes_[index];
    if (node.kind == Kind::bytes || node.kind == Kind::reference) return true;
    if (node.kind != Kind::choice || node.b - node.a > 4) return false;
    for (uint32_t i = node.a; i < node.b; ++i) {
      const Kind kind = builder_.nodes_[builder_.parts_[i]].kind;
      if (kind != Kind::bytes && kind != Kind::reference) return false;
    }
    return true;
  }

  void compile_repeat(const Node& node, uint32_t from, uint32_t to) {
    const uint32_t element = node.a, min = node.b, max = node.c;
    if (max == 1) {  // min is 0
      add_empty(from, to);
      return compile(element, from, to);
    }
    if (max == kUnlimited && min <= 1) {
      const uint32_t before = add_states(1), behind = min == 0 ? before : add_states(1);
      add_empty(from, before);
      compile(element, before, behind);
      add_empty(behind, before);
      return add_empty(behind, to);
    }
    const uint32_t copies = max == kUnlimited ? min : max;
    if (copies == kUnlimited) return;  // cannot be: a minimum without an end
    const bool small = is_small(element);
    const uint32_t rule = small ? 0 : element_rule(element);
    const auto compile_element = [&](uint32_t begin, uint32_t end) {
      if (small) return compile(element, begin, end);
      add_edge(raw_.calls, {begin, end, rule});
    };
    const uint32_t first = add_states(copies == kUnlimited - 1 ? copies : copies + 1);
    if (!error_.empty()) return;
    raw_.repetitions.push_back({first, min, max});
    add_empty(from, first);
    for (uint32_t i = 0; i <= copies && error_.empty(); ++i) {
      if (i >= min) add_empty(first + i, to);
      if (i < copies) compile_element(first + i, first + i + 1);
    }
    if (max == kUnlimited) compile_element(first + copies, first + copies);
  }

  // Edges that lead to a state whose only edge is an empty one lead to that edge's target instead.
  void skip_plain_states() {
    const size_t states = raw_.state_rule.size();
    std::vector<uint32_t> target(states), count(states);
    for (const auto& edge : raw_.empties) target[edge.from] = edge.to, ++count[edge.from];
    for (const auto& edge : raw_.bytes) count[edge.from] = 2;
    for (const auto& edge : raw_.calls) count[edge.from] = 2;
    const auto resolve = [&](uint32_t state) {
      // Bounded: plain states may form a ring, from which nothing leads out.
      for (int steps = 0; steps < 16 && count[state] == 1; ++steps) state = target[state];
      return state;
    };
    for (auto* edges : {&raw_.bytes, &raw_.calls, &raw_.empties}) {
      for (auto& edge : *edges) edge.to = resolve(edge.to);
    }
    for (auto& rule : raw_.rules) rule.start = resolve(rule.start);
  }

  const GrammarBuilder& builder_;
  RawGrammar raw_;
  std::vector<uint32_t> bodies_;  // [rules] expression
  std::unordered_map<uint32_t, uint32_t> named_, elements_;
  uint32_t single_sets_[256] = {};
  uint32_t rule_ = 0;
  std::string error_;
};

Result<RawGrammar> compile_rules(const GrammarBuilder& builder, GrammarBuilder::RuleId root) {
  return GrammarCompiler(builder).run(root);
}

}  // namespace skvis
