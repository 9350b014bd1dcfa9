// SPDX-License-Identifier: Apache-2.0
// From Oniguruma's syntax to PCRE2's. Source: Oniguruma's doc/RE and pcre2pattern(3).
#include <fmt/format.h>

#include <cctype>

#include "text/regex.hpp"

namespace skvis {
namespace {

// Unicode's White_Space. PCRE2's own \s also takes U+180E, which Unicode took out in 6.3.
constexpr std::string_view kSpaces = R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680})"
                                     R"(\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
// PCRE2 10.42's own \w lacks marks and connectors.
constexpr std::string_view kWord = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

bool is_hex(std::string_view text) {
  for (const char c : text) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return false;
  }
  return !text.empty();
}

// The class that a letter behind a backslash stands for, or nothing.
std::string_view class_of(char letter) {
  switch (letter) {
    case 's':
    case 'S':
      return kSpaces;
    case 'w':
    case 'W':
      return kWord;
    case 'h':
    case 'H':
      return kHexDigits;
    default:
      return {};
  }
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  Result<std::string> run() {
    while (!rest_.empty()) {
      if (rest_[0] == '\\') {
        SKVIS_CHECK(escape());
      } else if (in_class_) {
        SKVIS_CHECK(class_character());
      } else {
        if (rest_[0] == '[')
          open_class();
        else
          copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  void copy(size_t count) {
    out_ += rest_.substr(0, count);
    rest_.remove_prefix(count);
  }

  void open_class() {
    in_class_ = true;
    copy(1);
    if (!rest_.empty() && rest_[0] == '^') copy(1);
    if (!rest_.empty() && rest_[0] == ']') copy(1);  // a bracket in first place is a character
  }

  Result<void> class_character() {
    if (rest_[0] == ']') {
      in_class_ = false;
    } else if (rest_[0] == '[') {
      const size_t end = rest_.substr(0, 2) == "[:" ? rest_.find(":]") : rest_.npos;
      if (end == rest_.npos) return fail("classes inside classes are not supported");
      copy(end + 2);
      return {};
    } else if (rest_.substr(0, 2) == "&&") {
      return fail("'&&' inside classes is not supported");
    }
    copy(1);
    return {};
  }

  Result<void> escape() {
    if (rest_.size() < 2) return fail("a backslash at its end");
    const char letter = rest_[1];
    const std::string_view class_text = class_of(letter);
    const bool negated = letter == 'S' || letter == 'W' || letter == 'H';
    if (letter == 'u') {
      const std::string_view digits = rest_.substr(2, 4);
      if (digits.size() != 4 || !is_hex(digits)) return fail("\\u needs four hex digits");
      out_ += fmt::format("\\x{{{}}}", digits);
      rest_.remove_prefix(6);
    } else if (class_text.empty()) {
      copy(2);
    } else if (!in_class_) {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", class_text);
      rest_.remove_prefix(2);
    } else if (!negated) {
      out_ += class_text;
      rest_.remove_prefix(2);
    } else if (letter == 'H') {
      return fail("\\H inside classes is not supported");
    } else {
      copy(2);  // \S and \W inside a class differ from Oniguruma's in a handful of characters only
    }
    return {};
  }

  std::string_view rest_;
  std::string out_;
  bool in_class_ = false;
};

}  // namespace

Result<std::string> translate_regex(std::string_view pattern) {
  return Translator(pattern).run();
}

std::string quote_regex(std::string_view literal) {
  std::string quoted;
  for (const char c : literal) {
    if (c == '\0') {
      quoted += "\\x{00}";
      continue;
    }
    if (std::ispunct(static_cast<unsigned char>(c)) != 0) quoted.push_back('\\');
    quoted.push_back(c);
  }
  return quoted;
}

}  // namespace skvis
