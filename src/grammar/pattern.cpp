// SPDX-License-Identifier: Apache-2.0
#include "grammar/pattern.hpp"

#include <algorithm>
#include <optional>

namespace skvis {
namespace {

constexpr uint32_t kMaxNesting = 200;

const CodePointSet& digits() {
  static const CodePointSet set = CodePointSet::of({{'0', '9'}});
  return set;
}
const CodePointSet& word_characters() {
  static const CodePointSet set =
      CodePointSet::of({{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}});
  return set;
}
const CodePointSet& white_space() {
  static const CodePointSet set = CodePointSet::of({{'\t', '\r'}, {' ', ' '}});
  return set;
}
// What \D, \W, \S and '.' leave out must hold for every reading of the notation: ECMAScript's '.'
// stops at four ends of lines, its \s and Python's know more than ASCII.
const CodePointSet& line_ends() {
  static const CodePointSet set = CodePointSet::of({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}});
  return set;
}
CodePointSet outside(char kind) {
  // Beyond ASCII Python's \d and \w depend on Unicode's tables, and U+001C to U+001F are white
  // space to Python only: such characters are left out.
  const CodePointSet common = CodePointSet::of({{0, 0x1b}, {0x20, 0x7f}});
  return common.without(kind == 'D' ? digits() : kind == 'W' ? word_characters() : white_space());
}

class PatternParser {
 public:
  PatternParser(GrammarBuilder& builder, std::string_view pattern, const PatternOptions& options)
      : builder_(builder), pattern_(pattern), options_(options) {
    if (!options_.character) {
      options_.character = [this](const CodePointSet& set) { return builder_.character(set); };
    }
  }

  Result<GrammarBuilder::Expression> run() {
    SKVIS_TRY(const Expression whole, parse_alternatives(0));
    if (at_ < pattern_.size()) return problem(at_, "unmatched ')'");
    return whole;
  }

 private:
  using Expression = GrammarBuilder::Expression;

  template <typename... Args>
  Error problem(size_t at, fmt::format_string<Args...> format, Args&&... args) const {
    return fail("pattern, byte {}: {}", at, fmt::format(format, std::forward<Args>(args)...));
  }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  bool take(std::string_view what) {
    if (pattern_.substr(at_, what.size()) != what) return false;
    at_ += what.size();
    return true;
  }

  Result<Expression> parse_alternatives(uint32_t nesting) {
    std::vector<Expression> alternatives;
    do {
      SKVIS_TRY(const Expression each, parse_sequence(nesting));
      alternatives.push_back(each);
    } while (take("|"));
    return builder_.choice(alternatives);
  }

  Result<Expression> parse_sequence(uint32_t nesting) {
    const bool outermost = nesting == 0;
    std::vector<Expression> parts;
    const bool from_start = outermost && take("^");
    bool to_end = false;
    if (outermost && options_.search && !from_start) parts.push_back(anything());
    while (at_ < pattern_.size() && peek() != '|' && peek() != ')') {
      const size_t start = at_;
      if (outermost && take("$")) {
        to_end = true;
        if (at_ < pattern_.size() && peek() != '|') {
          return problem(start, "'$' is supported at the end of the pattern only");
        }
        break;
      }
      SKVIS_TRY(Expression atom, parse_atom(nesting));
      SKVIS_TRY(atom, parse_quantifier(atom));
      parts.push_back(atom);
    }
    if (outermost && options_.search && !to_end) parts.push_back(anything());
    return builder_.sequence(parts);
  }

  Expression anything() {
    return builder_.repeat(options_.character(CodePointSet::all()), 0, kUnlimited);
  }

  Result<Expression> parse_atom(uint32_t nesting) {
    const size_t start = at_;
    switch (peek()) {
      case '(':
        return parse_group(nesting);
      case '[':
        return parse_class();
      case '.':
        ++at_;
        return options_.character(line_ends().negated());
      case '^':
      case '$':
        return problem(start, "'{}' is supported at the ends of the pattern only", peek());
      case '*':
      case '+':
      case '?':
      case '{':
        return problem(start, "'{}' has nothing to repeat", peek());
      case '\\': {
        SKVIS_TRY(const CodePointSet set, parse_escape());
        return options_.character(set);
      }
      default: {
        const auto character = read_code_point(pattern_, at_);
        if (!character) return problem(start, "not UTF-8");
        return options_.character(CodePointSet::of({{*character, *character}}));
      }
    }
  }

  Result<Expression> parse_group(uint32_t nesting) {
    const size_t start = at_++;
    if (nesting == kMaxNesting) {
      return problem(start, "groups are nested deeper than {} levels", kMaxNesting);
    }
    if (peek() == '?' && !take("?:")) {
      return problem(start, "'(?{}' is not supported: plain groups and (?: ) are", peek(1));
    }
    SKVIS_TRY(const Expression group, parse_alternatives(nesting + 1));
    if (!take(")")) return problem(start, "'(' is never closed");
    return group;
  }

  Result<Expression> parse_quantifier(Expression atom) {
    const size_t start = at_;
    if (take("*")) {
      atom = builder_.repeat(atom, 0, kUnlimited);
    } else if (take("+")) {
      atom = builder_.repeat(atom, 1, kUnlimited);
    } else if (take("?")) {
      atom = builder_.optional(atom);
    } else if (take("{")) {
      SKVIS_TRY(atom, parse_counts(atom, start));
    } else {
      return atom;
    }
    take("?");  // lazy: the same language
    const char c = peek();
    if (c == '*' || c == '+' || c == '?' || c == '{') {
      return problem(at_, "'{}' behind another quantifier", c);
    }
    return atom;
  }

  Result<Expression> parse_counts(Expression atom, size_t start) {
    SKVIS_TRY(const uint32_t min, parse_count());
    uint32_t max = min;
    if (take(",")) {
      max = kUnlimited;
      if (peek() != '}') {
        SKVIS_TRY(max, parse_count());
      }
    }
    if (!take("}")) return problem(at_, "expected '}}' behind the counts");
    if (min > max) return problem(start, "a repetition of at least {} and at most {}", min, max);
    return builder_.repeat(atom, min, max);
  }

  Result<uint32_t> parse_count() {
    const size_t start = at_;
    uint64_t value = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = std::min<uint64_t>(value * 10 + static_cast<uint64_t>(peek() - '0'), 1u << 30);
    }
    if (at_ == start) return problem(start, "expected a count; a plain '{{' is written \\{{");
    if (value >= GrammarBuilder::kMaxStates) {
      return problem(start, "a count of repetitions must be below {}", GrammarBuilder::kMaxStates);
    }
    return static_cast<uint32_t>(value);
  }

  // At a backslash; sets of one character for all escapes but \d, \w, \s and their opposites.
  Result<CodePointSet> parse_escape() {
    const size_t start = at_++;
    const auto character = read_code_point(pattern_, at_);
    if (!character) return problem(start, "a backslash with nothing behind it");
    const auto one = [](uint32_t value) { return CodePointSet::of({{value, value}}); };
    switch (*character) {
      case 'd':
        return digits();
      case 'w':
        return word_characters();
      case 's':
        return white_space();
      case 'D':
      case 'W':
      case 'S':
        return outside(static_cast<char>(*character));
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
      case 'u': {
        SKVIS_TRY(const uint32_t value, parse_hex(start, *character == 'x' ? 2 : 4));
        return one(value);
      }
      default:
        if (*character >= 0x80 || word_characters().contains(*character)) {
          return problem(start, "the escape '\\{}' is not supported",
                         pattern_.substr(start + 1, at_ - start - 1));
        }
        return one(*character);
    }
  }

  Result<uint32_t> parse_hex(size_t start, int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return problem(start, "the escape needs {} hexadecimal digits", count);
      value = value << 4 | static_cast<uint32_t>(digit);
    }
    if (value >= 0xd800 && value <= 0xdfff) return problem(start, "a surrogate is no character");
    return value;
  }

  Result<Expression> parse_class() {
    const size_t start = at_++;
    const bool negated = take("^");
    CodePointSet set;
    shorthand_ = false;
    while (peek() != ']') {
      if (at_ >= pattern_.size()) return problem(start, "'[' is never closed");
      SKVIS_TRY(const CodePointSet first, parse_class_member());
      if (peek() != '-' || peek(1) == ']') {
        set.add(first);
        continue;
      }
      const size_t dash = at_++;
      SKVIS_TRY(const CodePointSet last, parse_class_member());
      const auto single = [](const CodePointSet& each) {
        return each.ranges().size() == 1 && each.ranges()[0].first == each.ranges()[0].second;
      };
      if (!single(first) || !single(last) || first.ranges()[0] > last.ranges()[0]) {
        return problem(dash, "a range needs two characters in order; a plain '-' is written \\-");
      }
      set.add(first.ranges()[0].first, last.ranges()[0].first);
    }
    ++at_;
    if (set.empty()) {
      return problem(start, "empty classes are not supported: readers differ about them");
    }
    if (!negated) return options_.character(set);
    // What readers count to \d, \w and \s differs beyond ASCII, and at U+001C to U+001F.
    set = set.negated();
    if (shorthand_) set = set.intersected(CodePointSet::of({{0, 0x1b}, {0x20, 0x7f}}));
    return options_.character(set);
  }

  Result<CodePointSet> parse_class_member() {
    const size_t start = at_;
    if (peek() == '\\') {
      constexpr std::string_view kShorthands = "dwsDWS";
      if (kShorthands.find(peek(1)) != std::string_view::npos) shorthand_ = true;
      return parse_escape();
    }
    if (peek() == '[') return problem(start, "a '[' in a class is written \\[");
    const auto character = read_code_point(pattern_, at_);
    if (!character) return problem(start, "not UTF-8");
    return CodePointSet::of({{*character, *character}});
  }

  GrammarBuilder& builder_;
  std::string_view pattern_;
  PatternOptions options_;
  size_t at_ = 0;
  bool shorthand_ = false;  // the class at hand has \d, \w, \s or an opposite
};

}  // namespace

Result<GrammarBuilder::Expression> parse_pattern(GrammarBuilder& builder, std::string_view pattern,
                                                 const PatternOptions& options) {
  if (pattern.size() > kMaxPatternBytes) {
    return fail("pattern: {} bytes, at most {} are allowed", pattern.size(), kMaxPatternBytes);
  }
  return PatternParser(builder, pattern, options).run();
}

Result<Grammar> compile_pattern(std::string_view pattern) {
  GrammarBuilder builder;
  SKVIS_TRY(const auto whole, parse_pattern(builder, pattern, {}));
  const auto root = builder.add_rule("pattern");
  builder.define(root, whole);
  return builder.build(root);
}

Result<Grammar> compile_choices(std::vector<std::string> choices) {
  if (choices.empty()) return fail("choices: the list is empty, so no text can match");
  GrammarBuilder builder;
  const auto root = builder.add_rule("choices");
  builder.define(root, builder.one_of(std::move(choices)));
  return builder.build(root);
}

}  // namespace skvis
