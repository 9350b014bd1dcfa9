// SPDX-License-Identifier: Apache-2.0
#include "grammar/json_grammar.hpp"

#include <algorithm>
#include <map>

#include "grammar/json_numbers.hpp"

namespace skvis {
namespace {

constexpr uint32_t kIndent = 16;

// What cannot stand in a JSON string as it is.
const CodePointSet& escaped_characters() {
  static const CodePointSet set = CodePointSet::of({{0, 0x1f}, {'"', '"'}, {'\\', '\\'}});
  return set;
}

std::string text_of(const Json& value) {
  return dump_json(value);
}

}  // namespace

JsonGrammar::JsonGrammar(GrammarBuilder& builder, bool compact)
    : builder_(builder), gap_(builder.empty()) {
  if (compact) return;
  const Expression blank = builder.character(CodePointSet::of({{' ', ' '}, {'\t', '\t'}}));
  gap_ = rule("gap",
              builder.optional(builder.choice(
                  {builder.literal(" "),
                   builder.sequence({builder.literal("\n"), builder.repeat(blank, 0, kIndent)})})));
}

JsonGrammar::Expression JsonGrammar::rule(const char* name, Expression body) {
  const auto id = builder_.add_rule(name);
  builder_.define(id, body);
  return builder_.reference(id);
}

JsonGrammar::Expression JsonGrammar::any_value() {
  if (any_value_) return *any_value_;
  // Known before it is defined: it is part of itself.
  const auto id = builder_.add_rule("value");
  any_value_ = builder_.reference(id);
  const auto number = number_between(builder_, {});
  builder_.define(id, builder_.choice({any_object(), any_array(), string(0, kUnlimited),
                                       rule("number", *number), builder_.literal("true"),
                                       builder_.literal("false"), builder_.literal("null")}));
  return *any_value_;
}

JsonGrammar::Expression JsonGrammar::any_object() {
  if (any_object_) return *any_object_;
  const auto id = builder_.add_rule("object");
  any_object_ = builder_.reference(id);
  builder_.define(id, object({}, any_value()));
  return *any_object_;
}

JsonGrammar::Expression JsonGrammar::any_array() {
  if (any_array_) return *any_array_;
  const auto id = builder_.add_rule("array");
  any_array_ = builder_.reference(id);
  builder_.define(id, array({}, any_value(), 0, kUnlimited));
  return *any_array_;
}

// Any character, escaped in any way: a pair of surrogates counts as the one that it means.
JsonGrammar::Expression JsonGrammar::free_character() {
  if (free_character_) return *free_character_;
  const auto bytes = [&](std::string_view set) {
    ByteSet bytes;
    for (const char c : set) bytes.set(static_cast<uint8_t>(c));
    return builder_.bytes(bytes);
  };
  constexpr std::string_view kHex = "0123456789abcdefABCDEF";
  const Expression hex = bytes(kHex);
  const Expression plain =
      builder_.choice({builder_.sequence({bytes("0123456789abcefABCEF"), hex, hex, hex}),
                       builder_.sequence({bytes("dD"), bytes("01234567"), hex, hex})});
  const Expression pair =
      builder_.sequence({bytes("dD"), bytes("89abAB"), hex, hex, builder_.literal("\\u"),
                         bytes("dD"), bytes("cdefCDEF"), hex, hex});
  const Expression escape = rule(
      "escape",
      builder_.sequence({builder_.literal("\\"),
                         builder_.choice({bytes("\"\\/bfnrt"),
                                          builder_.sequence({builder_.literal("u"),
                                                             builder_.choice({plain, pair})})})}));
  // One list of alternatives, none of them nested: a copy of it is then a few edges.
  const CodePointSet unescaped = escaped_characters().negated();
  const CodePointSet ascii = CodePointSet::of({{0, 0x7f}});
  free_character_ = builder_.choice({builder_.character(unescaped.intersected(ascii)),
                                     builder_.character(unescaped.without(ascii)), escape});
  return *free_character_;
}

JsonGrammar::Expression JsonGrammar::string(uint32_t min, uint32_t max) {
  if (min == 0 && max == kUnlimited) {
    if (!any_string_) {
      any_string_ = rule("string", quoted(builder_.repeat(free_character(), 0, kUnlimited)));
    }
    return *any_string_;
  }
  return quoted(builder_.repeat(free_character(), min, max));
}

JsonGrammar::Expression JsonGrammar::quoted(Expression inside) {
  return builder_.sequence({builder_.literal("\""), inside, builder_.literal("\"")});
}

JsonGrammar::Expression JsonGrammar::string_character(const CodePointSet& set) {
  std::vector<std::string> escapes;
  const CodePointSet special = set.intersected(escaped_characters());
  for (const auto& [first, last] : special.ranges()) {
    for (uint32_t c = first; c <= last; ++c) {
      const std::string text = text_of(Json(std::string(1, static_cast<char>(c))));
      escapes.push_back(text.substr(1, text.size() - 2));
    }
  }
  const CodePointSet plain = set.without(escaped_characters());
  std::vector<Expression> alternatives;
  if (!plain.empty()) alternatives.push_back(builder_.character(plain));
  if (!escapes.empty()) alternatives.push_back(builder_.one_of(std::move(escapes)));
  return builder_.choice(alternatives);
}

// A tree of the names, one rule per beginning: what leaves the tree, or ends inside it, is another
// name. Characters are written in one way only, so that no name can hide behind escapes.
JsonGrammar::Expression JsonGrammar::name_except(const std::vector<std::string>& names) {
  struct Beginning {
    std::map<uint32_t, size_t> next;
    bool is_name = false;
  };
  std::vector<Beginning> beginnings(1);
  for (const std::string& name : names) {
    size_t at = 0, here = 0;
    while (at < name.size()) {
      const auto character = read_code_point(name, at);
      if (!character) break;  // JSON text is UTF-8, so this cannot be
      const auto [known, fresh] = beginnings[here].next.try_emplace(*character, beginnings.size());
      here = known->second;
      if (fresh) beginnings.emplace_back();
    }
    beginnings[here].is_name = true;
  }
  const Expression rest =
      rule("rest of a name", builder_.repeat(string_character(CodePointSet::all()), 0, kUnlimited));
  std::vector<GrammarBuilder::RuleId> rules;
  for (size_t i = 0; i < beginnings.size(); ++i) rules.push_back(builder_.add_rule("other name"));
  for (size_t i = 0; i < beginnings.size(); ++i) {
    std::vector<Expression> alternatives;
    CodePointSet inside;
    for (const auto& [character, next] : beginnings[i].next) {
      inside.add(character, character);
      alternatives.push_back(
          builder_.sequence({string_character(CodePointSet::of({{character, character}})),
                             builder_.reference(rules[next])}));
    }
    alternatives.push_back(builder_.sequence({string_character(inside.negated()), rest}));
    if (!beginnings[i].is_name) alternatives.push_back(builder_.empty());
    builder_.define(rules[i], builder_.choice(alternatives));
  }
  return quoted(builder_.reference(rules[0]));
}

JsonGrammar::Expression JsonGrammar::constants(const std::vector<Json>& values) {
  std::vector<std::string> scalars;
  std::vector<Expression> alternatives;
  for (const Json& value : values) {
    if (value.is_structured()) {
      alternatives.push_back(constant(value));
    } else {
      scalars.push_back(text_of(value));
    }
  }
  if (!scalars.empty()) alternatives.push_back(builder_.one_of(std::move(scalars)));
  return builder_.choice(alternatives);
}

JsonGrammar::Expression JsonGrammar::constant(const Json& value) {
  if (value.is_object()) {
    std::vector<Member> members;
    for (const auto& [name, member] : value.items()) {
      members.push_back({name, constant(member), true});
    }
    return object(members, std::nullopt);
  }
  if (!value.is_array()) return builder_.literal(text_of(value));
  std::vector<Expression> elements;
  for (const Json& element : value) elements.push_back(constant(element));
  const auto count = static_cast<uint32_t>(elements.size());
  return array(elements, builder_.nothing(), count, count);
}

JsonGrammar::Expression JsonGrammar::pair(Expression name, Expression value) {
  return builder_.sequence({name, builder_.literal(":"), gap_, value});
}

// open gap (inside gap)? close: one gap where the list is empty.
JsonGrammar::Expression JsonGrammar::enclosed(const char* open, Expression inside,
                                              bool may_be_empty, const char* close) {
  Expression filled = builder_.sequence({inside, gap_});
  if (may_be_empty) filled = builder_.optional(filled);
  return builder_.sequence({builder_.literal(open), gap_, filled, builder_.literal(close)});
}

JsonGrammar::Expression JsonGrammar::object(const std::vector<Member>& members,
                                            std::optional<Expression> others) {
  const size_t count = members.size();
  // The first member that must be there; before it, any member may be the first of the text.
  size_t required = 0;
  while (required < count && !members[required].required) ++required;
  std::vector<Expression> pairs;
  for (size_t i = 0; i < count; ++i) {
    const Expression each =
        pair(builder_.literal(text_of(Json(members[i].name))), members[i].value);
    pairs.push_back(i <= required ? rule("member", each) : each);
  }
  const auto further = [&](size_t i) {
    const Expression each = builder_.sequence({comma(), pairs[i]});
    return members[i].required ? each : builder_.optional(each);
  };
  std::vector<Expression> last;  // what may follow the first required member
  for (size_t i = required + 1; i < count; ++i) last.push_back(further(i));
  std::vector<Expression> begins;
  if (others) {
    std::vector<std::string> names;
    for (const Member& member : members) names.push_back(member.name);
    const Expression name = names.empty() ? string(0, kUnlimited) : name_except(names);
    const Expression other = rule("member", pair(name, *others));
    const Expression more = builder_.repeat(builder_.sequence({comma(), other}), 0, kUnlimited);
    last.push_back(more);
    if (required == count) begins.push_back(builder_.sequence({other, more}));
  }
  Expression behind = builder_.sequence(last);
  if (required > 0) behind = rule("members", behind);
  for (size_t i = std::min(required + 1, count); i-- > 0;) {
    begins.push_back(builder_.sequence({pairs[i], behind}));
    if (i > 0) behind = rule("members", builder_.sequence({further(i), behind}));
  }
  return enclosed("{", builder_.choice(begins), required == count, "}");
}

JsonGrammar::Expression JsonGrammar::array(const std::vector<Expression>& first, Expression rest,
                                           uint32_t min, uint32_t max) {
  if (min > max) return builder_.nothing();
  if (max == 0) return enclosed("[", builder_.nothing(), true, "]");
  const auto own = static_cast<uint32_t>(std::min<size_t>(first.size(), max));
  const Expression element = first.size() < max ? rule("element", rest) : builder_.nothing();
  // From the last element to the first: each may end the list where `min` is reached.
  const uint32_t before = std::max(own, 1u);  // elements in front of the repetition
  const uint32_t most = max == kUnlimited ? kUnlimited : max - before;
  Expression list =
      builder_.repeat(builder_.sequence({comma(), element}), min > before ? min - before : 0, most);
  if (own == 0) list = builder_.sequence({element, list});
  for (uint32_t i = own; i-- > 0;) {
    list = builder_.sequence({first[i], list});
    if (i == 0) break;
    list = builder_.sequence({comma(), list});
    if (i >= min) list = builder_.optional(list);
  }
  return enclosed("[", list, min == 0, "]");
}

}  // namespace skvis
