// SPDX-License-Identifier: Apache-2.0
#include "grammar/gbnf.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "grammar/grammar_builder.hpp"

namespace skvis {
namespace {

constexpr uint32_t kMaxNesting = 200;  // of parentheses

class GbnfParser {
 public:
  explicit GbnfParser(std::string_view text) : text_(text) {}

  Result<Grammar> run() {
    skip_space(true);
    while (at_ < text_.size()) {
      SKVIS_CHECK(parse_rule());
      skip_space(true);
    }
    for (const auto& [name, rule] : rules_) {
      if (!builder_.defined(rule.id)) return problem(rule.seen, "rule '{}' is undefined", name);
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) {
      return fail("grammar: there is no rule 'root', with which every text begins");
    }
    auto grammar = builder_.build(root->second.id);
    if (!grammar) return fail("grammar: {}", grammar.error().message);
    return grammar;
  }

 private:
  using Expression = GrammarBuilder::Expression;
  struct NamedRule {
    GrammarBuilder::RuleId id;
    size_t seen;  // where it is first named
  };

  template <typename... Args>
  Error problem(size_t at, fmt::format_string<Args...> format, Args&&... args) const {
    const std::string_view before = text_.substr(0, at);
    const size_t line = static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1;
    const size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
    return fail("grammar, line {}, column {}: {}", line, at - start + 1,
                fmt::format(format, std::forward<Args>(args)...));
  }
  std::string found() const {
    if (at_ >= text_.size()) return "the end of the grammar";
    if (text_[at_] == '\n') return "the end of the line";
    return fmt::format("'{}'", text_[at_]);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(std::string_view what) {
    if (text_.substr(at_, what.size()) != what) return false;
    at_ += what.size();
    return true;
  }
  void skip_space(bool lines) {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
        if (at_ == text_.size() || !lines) return;
      } else if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r'))) {
        return;
      }
    }
  }
  // A line may begin with '|': the alternatives of the line before go on.
  void skip_to_alternative() {
    const size_t start = at_;
    skip_space(true);
    if (peek() != '|') at_ = start;
  }

  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  }
  std::string_view take_name() {
    const size_t start = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  GrammarBuilder::RuleId rule(std::string_view name, size_t at) {
    const auto known = rules_.find(name);
    if (known != rules_.end()) return known->second.id;
    const auto id = builder_.add_rule(std::string(name));
    rules_.emplace(std::string(name), NamedRule{id, at});
    return id;
  }

  Result<void> parse_rule() {
    const size_t start = at_;
    const std::string_view name = take_name();
    if (name.empty()) return problem(start, "expected the name of a rule, found {}", found());
    skip_space(false);
    if (!take("::=")) return problem(at_, "expected '::=' behind '{}', found {}", name, found());
    const auto id = rule(name, start);
    if (builder_.defined(id)) return problem(start, "rule '{}' is defined twice", name);
    skip_space(true);
    SKVIS_TRY(const Expression body, parse_alternatives(0));
    skip_space(false);
    if (at_ < text_.size() && peek() != '\n' && peek() != '\r') {
      return problem(at_, "expected the end of the line, found {}", found());
    }
    builder_.define(id, body);
    return {};
  }

  Result<Expression> parse_alternatives(uint32_t nesting) {
    std::vector<Expression> alternatives;
    while (true) {
      SKVIS_TRY(const Expression each, parse_sequence(nesting));
      alternatives.push_back(each);
      if (nesting == 0) skip_to_alternative();
      if (!take("|")) return builder_.choice(alternatives);
      skip_space(true);
    }
  }

  Result<Expression> parse_sequence(uint32_t nesting) {
    std::vector<Expression> parts;
    while (true) {
      skip_space(nesting > 0);
      SKVIS_TRY(const std::optional<Expression> part, parse_element(nesting));
      if (!part) return builder_.sequence(parts);
      SKVIS_TRY(const Expression repeated, parse_repetition(*part, nesting));
      parts.push_back(repeated);
    }
  }

  // Nothing where no element begins: an alternative may be empty.
  Result<std::optional<Expression>> parse_element(uint32_t nesting) {
    const size_t start = at_;
    const char c = peek();
    if (c == '"') {
      SKVIS_TRY(const Expression string, parse_string());
      return std::optional(string);
    }
    if (c == '[') {
      SKVIS_TRY(const Expression set, parse_class());
      return std::optional(set);
    }
    if (take(".")) return std::optional(builder_.character(CodePointSet::all()));
    if (take("(")) {
      if (nesting == kMaxNesting) {
        return problem(start, "parentheses are nested deeper than {} levels", kMaxNesting);
      }
      SKVIS_TRY(const Expression group, parse_alternatives(nesting + 1));
      skip_space(true);
      if (!take(")")) {
        return problem(at_, "expected ')' for the '(' {} bytes before, found {}", at_ - start,
                       found());
      }
      return std::optional(group);
    }
    if (is_name(c)) {
      const std::string_view name = take_name();
      const size_t end = at_;
      skip_space(false);
      const bool next_rule = text_.substr(at_, 3) == "::=";
      at_ = end;
      if (next_rule) return problem(start, "rule '{}' must begin on a line of its own", name);
      return std::optional(builder_.reference(rule(name, start)));
    }
    if (c == '*' || c == '+' || c == '?' || c == '{') {
      return problem(start, "'{}' has nothing to repeat", c);
    }
    if (c == '<' || c == '!') {
      return problem(start, "tokens (<...>) are not supported in grammars; write their text");
    }
    return std::optional<Expression>();
  }

  Result<Expression> parse_repetition(Expression element, uint32_t nesting) {
    while (true) {
      const size_t before = at_;
      skip_space(nesting > 0);
      if (take("*")) {
        element = builder_.repeat(element, 0, kUnlimited);
      } else if (take("+")) {
        element = builder_.repeat(element, 1, kUnlimited);
      } else if (take("?")) {
        element = builder_.repeat(element, 0, 1);
      } else if (take("{")) {
        SKVIS_TRY(element, parse_counts(element));
      } else {
        at_ = before;
        return element;
      }
    }
  }

  Result<Expression> parse_counts(Expression element) {
    const size_t start = at_ - 1;
    SKVIS_TRY(const uint32_t min, parse_count());
    uint32_t max = min;
    skip_space(false);
    if (take(",")) {
      skip_space(false);
      max = kUnlimited;
      if (peek() != '}') {
        SKVIS_TRY(max, parse_count());
      }
      skip_space(false);
    }
    if (!take("}")) return problem(at_, "expected '}}' behind the counts, found {}", found());
    if (min > max) {
      return problem(start, "a repetition of at least {} and at most {}", min, max);
    }
    return builder_.repeat(element, min, max);
  }

  Result<uint32_t> parse_count() {
    skip_space(false);
    const size_t start = at_;
    uint64_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = std::min<uint64_t>(value * 10 + static_cast<uint64_t>(peek() - '0'), 1u << 30);
      ++at_;
    }
    if (at_ == start) return problem(at_, "expected a count, found {}", found());
    if (value >= GrammarBuilder::kMaxStates) {
      return problem(start, "a count of repetitions must be below {}", GrammarBuilder::kMaxStates);
    }
    return static_cast<uint32_t>(value);
  }

  // One character of a string or class, escapes included.
  Result<uint32_t> parse_character() {
    const size_t start = at_;
    if (!take("\\")) {
      const auto character = read_code_point(text_, at_);
      if (!character) return problem(start, "the grammar is not UTF-8 here");
      return *character;
    }
    const char escape = peek();
    ++at_;
    switch (escape) {
      case 'n':
        return uint32_t{'\n'};
      case 'r':
        return uint32_t{'\r'};
      case 't':
        return uint32_t{'\t'};
      case 'x':
        return parse_hex(start, 2);
      case 'u':
        return parse_hex(start, 4);
      case 'U':
        return parse_hex(start, 8);
      default:
        if (std::string_view("\\\"[]-^").find(escape) != std::string_view::npos) {
          return static_cast<uint32_t>(escape);
        }
        return problem(start,
                       "unknown escape; known are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ "
                       "\\xHH \\uHHHH \\UHHHHHHHH");
    }
  }

  Result<uint32_t> parse_hex(size_t start, int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return problem(start, "the escape needs {} hexadecimal digits", digits);
      value = value << 4 | static_cast<uint32_t>(digit);
    }
    if (value > kMaxCodePoint || (value >= 0xd800 && value <= 0xdfff)) {
      return problem(start, "U+{:04X} is no character", value);
    }
    return value;
  }

  Result<Expression> parse_string() {
    const size_t start = at_++;
    std::string bytes;
    while (peek() != '"') {
      if (at_ >= text_.size() || peek() == '\n') {
        return problem(start, "the string has no closing '\"' on its line");
      }
      SKVIS_TRY(const uint32_t character, parse_character());
      append_code_point(character, bytes);
    }
    ++at_;
    return builder_.literal(bytes);
  }

  Result<Expression> parse_class() {
    const size_t start = at_++;
    const bool negated = take("^");
    CodePointSet set;
    while (peek() != ']') {
      if (at_ >= text_.size() || peek() == '\n') {
        return problem(start, "the class has no closing ']' on its line");
      }
      const size_t first_at = at_;
      SKVIS_TRY(const uint32_t first, parse_character());
      uint32_t last = first;
      if (peek() == '-' && text_.substr(at_, 2) != "-]") {
        ++at_;
        if (at_ >= text_.size()) continue;
        SKVIS_TRY(last, parse_character());
      }
      if (first > last) return problem(first_at, "the range in the class runs backwards");
      set.add(first, last);
    }
    ++at_;
    if (!negated && set.empty()) return problem(start, "the class is empty and matches nothing");
    return builder_.character(negated ? set.negated() : set);
  }

  std::string_view text_;
  size_t at_ = 0;
  GrammarBuilder builder_;
  std::map<std::string, NamedRule, std::less<>> rules_;
};

}  // namespace

Result<Grammar> parse_gbnf(std::string_view text) {
  if (text.size() > kMaxGbnfBytes) {
    return fail("grammar: {} bytes, at most {} are allowed", text.size(), kMaxGbnfBytes);
  }
  return GbnfParser(text).run();
}

}  // namespace skvis
