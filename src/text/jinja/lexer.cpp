// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/lexer.hpp"

#include <algorithm>
#include <array>

#include "text/jinja/literals.hpp"
#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::string with_unix_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (position_ < source_.size()) SKVIS_CHECK(text_and_tag());
    emit(Token::Kind::kEnd);
    return std::move(tokens_);
  }

 private:
  bool at(std::string_view text) const {
    return std::string_view(source_).substr(position_, text.size()) == text;
  }

  void advance(size_t count) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<ptrdiff_t>(position_),
                   source_.begin() + static_cast<ptrdiff_t>(position_ + count), '\n'));
    position_ += count;
  }

  void skip_space() {
    while (position_ < source_.size()) {
      size_t next = position_;
      if (!is_space(decode(source_, next))) return;
      advance(next - position_);
    }
  }

  void emit(Token::Kind kind, std::string text = {}) {
    tokens_.push_back(Token{.kind = kind, .line = line_, .text = std::move(text)});
  }

  // Emits the text up to `end`, shortened for the tag that follows; moves there.
  void text_before_tag(size_t end, char sign, bool is_output) {
    std::string_view text = std::string_view(source_).substr(position_, end - position_);
    if (sign == '-') {
      text = strip(text, false, true);
    } else if (sign != '+' && !is_output) {
      const size_t newline = text.rfind('\n');
      const size_t begin = newline == text.npos ? 0 : newline + 1;
      const bool whole_line = begin > 0 || position_ == 0 || source_[position_ - 1] == '\n';
      if (whole_line && strip(text.substr(begin), true, false).empty())
        text = text.substr(0, begin);
    }
    if (!text.empty()) emit(Token::Kind::kText, std::string(text));
    advance(end - position_);
  }

  // The sign of a tag that starts here: '-', '+' or 0.
  char sign_at(size_t position) const {
    const char c = position < source_.size() ? source_[position] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  // Behind `%}` or `#}` with the sign that stood before it.
  void space_after_tag(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && at("\n")) {
      advance(1);
    }
  }

  Result<void> text_and_tag() {
    size_t tag = position_;
    while ((tag = source_.find('{', tag)) != std::string::npos) {
      if (tag + 1 < source_.size() &&
          std::string_view("{%#").find(source_[tag + 1]) != std::string_view::npos)
        break;
      ++tag;
    }
    if (tag == std::string::npos) {
      emit(Token::Kind::kText, source_.substr(position_));
      advance(source_.size() - position_);
      return {};
    }
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    text_before_tag(tag, sign, kind == '{');
    advance(sign == '\0' ? 2 : 3);
    if (kind == '#') return comment();
    if (kind == '%' && raw_begins()) return raw();
    return tag_content(kind == '%');
  }

  Result<void> comment() {
    const size_t end = source_.find("#}", position_);
    if (end == std::string::npos) return fail("line {}: expected '#}}' to end the comment", line_);
    const char sign = end > position_ ? sign_at(end - 1) : '\0';
    advance(end + 2 - position_);
    space_after_tag(sign);
    return {};
  }

  // Whether the block tag whose inside starts here is `raw`; if so, moves behind the tag.
  bool raw_begins() {
    const size_t saved = position_;
    const int saved_line = line_;
    skip_space();
    if (at("raw")) {
      advance(3);
      skip_space();
      const bool strips = at("-%}");
      if (strips || at("%}")) {
        advance(strips ? 3 : 2);
        if (strips) skip_space();
        return true;
      }
    }
    position_ = saved;
    line_ = saved_line;
    return false;
  }

  Result<void> raw() {
    const int begin_line = line_;
    for (size_t tag = position_; (tag = source_.find("{%", tag)) != std::string::npos; tag += 2) {
      const char sign = sign_at(tag + 2);
      size_t inside = tag + (sign == '\0' ? 2 : 3);
      const auto skip = [&] {
        for (size_t next = inside; next < source_.size(); inside = next) {
          if (!is_space(decode(source_, next))) break;
        }
      };
      skip();
      if (source_.compare(inside, 6, "endraw") != 0) continue;
      inside += 6;
      skip();
      const char end_sign = sign_at(inside);
      if (end_sign != '\0') ++inside;
      if (source_.compare(inside, 2, "%}") != 0) continue;
      text_before_tag(tag, sign, false);
      advance(inside + 2 - position_);
      space_after_tag(end_sign);
      return {};
    }
    return fail("line {}: expected '{{% endraw %}}' for the raw block that begins here",
                begin_line);
  }

  Result<void> tag_content(bool is_block) {
    emit(is_block ? Token::Kind::kBlockBegin : Token::Kind::kOutputBegin);
    const int begin_line = line_;
    std::vector<char> open;  // closing brackets still to come
    while (true) {
      skip_space();
      if (position_ >= source_.size()) {
        return fail("line {}: expected '{}' to end the tag", begin_line, is_block ? "%}" : "}}");
      }
      if (open.empty() && tag_ends(is_block)) return {};
      const char c = source_[position_];
      if (is_ascii_digit(c)) {
        SKVIS_CHECK(number());
      } else if (is_name_start(c)) {
        name();
      } else if (c == '\'' || c == '"') {
        SKVIS_CHECK(string());
      } else {
        SKVIS_CHECK(operation(open));
      }
    }
  }

  bool tag_ends(bool is_block) {
    const std::string_view end = is_block ? "%}" : "}}";
    const char sign = source_[position_];
    const bool signed_end = (sign == '-' || (sign == '+' && is_block)) &&
                            std::string_view(source_).substr(position_ + 1, 2) == end;
    if (!signed_end && !at(end)) return false;
    emit(is_block ? Token::Kind::kBlockEnd : Token::Kind::kOutputEnd);
    advance(signed_end ? 3 : 2);
    if (is_block) {
      space_after_tag(signed_end ? sign : '\0');
    } else if (signed_end) {
      skip_space();
    }
    return true;
  }

  void name() {
    size_t end = position_;
    while (end < source_.size() && (is_name_start(source_[end]) || is_ascii_digit(source_[end])))
      ++end;
    emit(Token::Kind::kName, source_.substr(position_, end - position_));
    advance(end - position_);
  }

  Result<void> number() {
    const bool after_dot = position_ > 0 && source_[position_ - 1] == '.';
    auto literal = read_number(std::string_view(source_).substr(position_), !after_dot);
    if (!literal) return fail("line {}: {}", line_, literal.error().message);
    emit(literal->is_float ? Token::Kind::kFloat : Token::Kind::kInteger);
    tokens_.back().number = literal->integer;
    tokens_.back().real = literal->real;
    advance(literal->size);
    return {};
  }

  Result<void> string() {
    const char quote = source_[position_];
    size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return fail("line {}: expected {} to end the string", line_, quote);
    auto text = unescape(std::string_view(source_).substr(position_ + 1, end - position_ - 1));
    if (!text) return fail("line {}: {}", line_, text.error().message);
    emit(Token::Kind::kString, std::move(*text));
    advance(end + 1 - position_);
    return {};
  }

  Result<void> operation(std::vector<char>& open) {
    static constexpr std::array<std::string_view, 26> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto* found = std::find_if(kOperators.begin(), kOperators.end(),
                                     [&](std::string_view text) { return at(text); });
    if (found == kOperators.end()) {
      return fail("line {}: character '{}' has no meaning inside a tag", line_, source_[position_]);
    }
    const char c = found->front();
    if (c == '(') open.push_back(')');
    if (c == '[') open.push_back(']');
    if (c == '{') open.push_back('}');
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) return fail("line {}: '{}' closes nothing", line_, c);
      if (open.back() != c)
        return fail("line {}: expected '{}', found '{}'", line_, open.back(), c);
      open.pop_back();
    }
    emit(Token::Kind::kOperator, std::string(*found));
    advance(found->size());
    return {};
  }

  std::string source_;
  size_t position_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kText:
      return "text";
    case Token::Kind::kBlockBegin:
      return "'{%'";
    case Token::Kind::kBlockEnd:
      return "'%}'";
    case Token::Kind::kOutputBegin:
      return "'{{'";
    case Token::Kind::kOutputEnd:
      return "'}}'";
    case Token::Kind::kName:
      return fmt::format("name '{}'", token.text.substr(0, 40));
    case Token::Kind::kString:
      return "a string";
    case Token::Kind::kInteger:
    case Token::Kind::kFloat:
      return "a number";
    case Token::Kind::kOperator:
      return fmt::format("'{}'", token.text);
    default:
      return "the end of the template";
  }
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  return Lexer(with_unix_newlines(source)).run();
}

}  // namespace skvis::jinja
