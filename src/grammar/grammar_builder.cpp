// SPDX-License-Identifier: Apache-2.0
#include "grammar/grammar_builder.hpp"

#include <algorithm>
#include <array>

#include "grammar/compile.hpp"

namespace skvis {
namespace {

// Levels of branching that one_of() factors out; below, texts are alternatives as they are.
constexpr uint32_t kTreeLevels = 200;

// Characters first to last, which have UTF-8 of one length, as sequences of byte ranges: where the
// leading bytes differ, what follows them must run over whole ranges (the method of Russ Cox's
// RE2, compile.cc).
void split_utf8(uint32_t first, uint32_t last,
                std::vector<std::pair<std::string, std::string>>& ranges) {
  for (uint32_t bits = 6; bits <= 18; bits += 6) {
    const uint32_t low = (1u << bits) - 1;
    if ((first & ~low) == (last & ~low)) continue;
    if ((first & low) != 0) {
      split_utf8(first, first | low, ranges);
      return split_utf8((first | low) + 1, last, ranges);
    }
    if ((last & low) != low) {
      split_utf8(first, (last & ~low) - 1, ranges);
      return split_utf8(last & ~low, last, ranges);
    }
  }
  std::string begin, end;
  append_code_point(first, begin);
  append_code_point(last, end);
  ranges.push_back({begin, end});
}

}  // namespace

GrammarBuilder::GrammarBuilder() {
  nodes_ = {{.kind = Kind::nothing}, {.kind = Kind::empty}};  // indices known to the header
}

GrammarBuilder::Expression GrammarBuilder::add(Node node) {
  if (nodes_.size() >= kMaxExpressions) {
    too_large_ = true;
    return nothing();
  }
  nodes_.push_back(node);
  return {static_cast<uint32_t>(nodes_.size() - 1)};
}

GrammarBuilder::Expression GrammarBuilder::bytes(const ByteSet& set) {
  if (set.none()) return nothing();
  const auto [known, fresh] = set_ids_.try_emplace(set, static_cast<uint32_t>(sets_.size()));
  if (fresh) sets_.push_back(set);
  return add({.kind = Kind::bytes, .a = known->second});
}

GrammarBuilder::Expression GrammarBuilder::literal(std::string_view text) {
  if (text.empty()) return empty();
  if (text.size() == 1) return bytes(ByteSet().set(static_cast<uint8_t>(text[0])));
  if (text_.size() + text.size() > kMaxExpressions * size_t{8}) {
    too_large_ = true;
    return nothing();
  }
  const auto begin = static_cast<uint32_t>(text_.size());
  text_ += text;
  return add({.kind = Kind::literal, .a = begin, .b = static_cast<uint32_t>(text_.size())});
}

GrammarBuilder::Expression GrammarBuilder::many_bytes(const CodePointSet& set) {
  const auto [known, fresh] = characters_.try_emplace(set);
  if (!fresh) return known->second;
  constexpr std::array<CodePointRange, 3> kLengths = {
      {{0x80, 0x7ff}, {0x800, 0xffff}, {0x10000, kMaxCodePoint}}};
  std::vector<std::pair<std::string, std::string>> ranges;
  for (const auto& [first, last] : set.ranges()) {
    for (const auto& [shortest, longest] : kLengths) {
      const uint32_t from = std::max(first, shortest), to = std::min(last, longest);
      if (from <= to) split_utf8(from, to, ranges);
    }
  }
  std::vector<Expression> alternatives;
  for (const auto& [begin, end] : ranges) {
    std::vector<Expression> parts;
    for (size_t i = 0; i < begin.size(); ++i) {
      ByteSet range;
      for (int byte = static_cast<uint8_t>(begin[i]); byte <= static_cast<uint8_t>(end[i]); ++byte)
        range.set(static_cast<size_t>(byte));
      parts.push_back(bytes(range));
    }
    alternatives.push_back(sequence(parts));
  }
  const RuleId rule = add_rule("character");
  define(rule, choice(alternatives));
  return characters_[set] = reference(rule);
}

GrammarBuilder::Expression GrammarBuilder::character(const CodePointSet& set) {
  if (set.ranges().size() == 1 && set.ranges()[0].first == set.ranges()[0].second) {
    std::string text;
    append_code_point(set.ranges()[0].first, text);
    return literal(text);
  }
  ByteSet single;
  for (const auto& [first, last] : set.ranges()) {
    for (uint32_t byte = first; byte <= std::min(last, 0x7fu); ++byte) single.set(byte);
  }
  const CodePointSet others = set.without(CodePointSet::of({{0, 0x7f}}));
  if (others.empty()) return bytes(single);
  return choice({bytes(single), many_bytes(others)});
}

GrammarBuilder::Expression GrammarBuilder::add_parts(Kind kind,
                                                     const std::vector<Expression>& parts) {
  if (parts_.size() + parts.size() > kMaxExpressions * size_t{4}) {
    too_large_ = true;
    return nothing();
  }
  Node node{.kind = kind, .a = static_cast<uint32_t>(parts_.size())};
  for (const Expression part : parts) {
    parts_.push_back(part.index);
    node.depth = std::max(node.depth, nodes_[part.index].depth + 1);
  }
  node.b = static_cast<uint32_t>(parts_.size());
  return add(node);
}

GrammarBuilder::Expression GrammarBuilder::sequence(const std::vector<Expression>& parts) {
  std::vector<Expression> kept;
  for (const Expression part : parts) {
    if (part.index == nothing().index) return nothing();
    if (part.index != empty().index) kept.push_back(part);
  }
  if (kept.empty()) return empty();
  return kept.size() == 1 ? kept[0] : add_parts(Kind::sequence, kept);
}

GrammarBuilder::Expression GrammarBuilder::choice(const std::vector<Expression>& alternatives) {
  std::vector<Expression> kept;
  for (const Expression each : alternatives) {
    if (each.index != nothing().index) kept.push_back(each);
  }
  if (kept.empty()) return nothing();
  return kept.size() == 1 ? kept[0] : add_parts(Kind::choice, kept);
}

GrammarBuilder::Expression GrammarBuilder::repeat(Expression element, uint32_t min, uint32_t max) {
  if (min > max) return nothing();
  if (max == 0) return empty();
  if (min == 1 && max == 1) return element;
  return add({.kind = Kind::repeat,
              .depth = nodes_[element.index].depth + 1,
              .a = element.index,
              .b = min,
              .c = max});
}

// The texts begin to end, which are sorted and equal in their first `skip` bytes.
GrammarBuilder::Expression GrammarBuilder::tree(const std::vector<std::string>& texts, size_t begin,
                                                size_t end, size_t skip, uint32_t levels) {
  std::vector<Expression> alternatives;
  while (begin < end) {
    const std::string& text = texts[begin];
    if (text.size() == skip) {
      alternatives.push_back(empty());
      ++begin;
      continue;
    }
    size_t group = begin + 1;
    while (group < end && levels < kTreeLevels && texts[group][skip] == text[skip]) ++group;
    // Sorted: what the first and the last have in common, all have.
    const std::string& last = texts[group - 1];
    size_t common = skip;
    while (common < text.size() && common < last.size() && text[common] == last[common]) ++common;
    const Expression head = literal(std::string_view(text).substr(skip, common - skip));
    const Expression rest =
        group == begin + 1 ? empty() : tree(texts, begin, group, common, levels + 1);
    alternatives.push_back(sequence({head, rest}));
    begin = group;
  }
  return choice(alternatives);
}

GrammarBuilder::Expression GrammarBuilder::one_of(std::vector<std::string> texts) {
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return tree(texts, 0, texts.size(), 0, 0);
}

GrammarBuilder::RuleId GrammarBuilder::add_rule(std::string name) {
  rules_.push_back({.name = std::move(name)});
  return {static_cast<uint32_t>(rules_.size() - 1)};
}

void GrammarBuilder::define(RuleId rule, Expression body) {
  rules_[rule.index].body = body;
  rules_[rule.index].defined = true;
}

GrammarBuilder::Expression GrammarBuilder::reference(RuleId rule) {
  return add({.kind = Kind::reference, .a = rule.index});
}

Result<Grammar> GrammarBuilder::build(RuleId root) const {
  if (too_large_) {
    return fail("the grammar is too large: more than {} expressions", kMaxExpressions);
  }
  SKVIS_TRY(RawGrammar raw, compile_rules(*this, root));
  return analyse_grammar(std::move(raw));
}

}  // namespace skvis
