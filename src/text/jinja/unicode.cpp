// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/unicode.hpp"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>

namespace skvis::jinja {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

// The code point that ends at `position`, which moves before it.
char32_t decode_backwards(std::string_view text, size_t& position) {
  const std::string_view tail = text.substr(position - std::min<size_t>(position, U8_MAX_LENGTH),
                                            std::min<size_t>(position, U8_MAX_LENGTH));
  const auto* bytes = reinterpret_cast<const uint8_t*>(tail.data());
  auto index = static_cast<int32_t>(tail.size());
  UChar32 code_point = 0;
  U8_PREV(bytes, 0, index, code_point);
  position -= tail.size() - static_cast<size_t>(index);
  return code_point < 0 ? kReplacement : static_cast<char32_t>(code_point);
}

template <typename Convert>
std::string convert(std::string_view text, Convert change) {
  icu::UnicodeString wide = icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  change(wide);
  std::string result;
  return wide.toUTF8String(result);
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

char32_t decode(std::string_view text, size_t& position) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const auto size = static_cast<int64_t>(text.size());
  auto index = static_cast<int64_t>(position);
  UChar32 code_point = 0;
  U8_NEXT(bytes, index, size, code_point);
  position = static_cast<size_t>(index);
  return code_point < 0 ? kReplacement : static_cast<char32_t>(code_point);
}

void append_utf8(std::string& text, char32_t code_point) {
  uint8_t bytes[U8_MAX_LENGTH];
  int32_t size = 0;
  UBool error = false;
  U8_APPEND(bytes, size, U8_MAX_LENGTH, static_cast<UChar32>(code_point), error);
  if (error) return append_utf8(text, kReplacement);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (size_t position = 0; position < text.size(); ++count) decode(text, position);
  return count;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    decode(text, position);
    result.push_back(text.substr(begin, position - begin));
  }
  return result;
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= ' ';
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_UNASSIGNED:
    case U_CONTROL_CHAR:
    case U_FORMAT_CHAR:
    case U_PRIVATE_USE_CHAR:
    case U_SURROGATE:
    case U_SPACE_SEPARATOR:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
      return false;
    default:
      return true;
  }
}

bool is_cased(char32_t c) {
  const auto type = u_charType(static_cast<UChar32>(c));
  return type == U_UPPERCASE_LETTER || type == U_LOWERCASE_LETTER || type == U_TITLECASE_LETTER;
}

bool is_letter(char32_t c) {
  return u_isalpha(static_cast<UChar32>(c));
}
bool is_digit(char32_t c) {
  return u_isdigit(static_cast<UChar32>(c));
}
bool is_alphanumeric(char32_t c) {
  return u_isalnum(static_cast<UChar32>(c));
}

std::string_view strip(std::string_view text, bool left, bool right,
                       std::optional<std::string_view> set) {
  std::vector<char32_t> unwanted;
  if (set) {
    for (size_t position = 0; position < set->size();) unwanted.push_back(decode(*set, position));
    std::sort(unwanted.begin(), unwanted.end());
  }
  const auto goes = [&](char32_t c) {
    return set ? std::binary_search(unwanted.begin(), unwanted.end(), c) : is_space(c);
  };
  while (left && !text.empty()) {
    size_t position = 0;
    if (!goes(decode(text, position))) break;
    text.remove_prefix(position);
  }
  while (right && !text.empty()) {
    size_t position = text.size();
    if (!goes(decode_backwards(text, position))) break;
    text = text.substr(0, position);
  }
  return text;
}

std::string upper(std::string_view text) {
  return convert(text, [](icu::UnicodeString& wide) { wide.toUpper(icu::Locale::getRoot()); });
}

std::string lower(std::string_view text) {
  return convert(text, [](icu::UnicodeString& wide) { wide.toLower(icu::Locale::getRoot()); });
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  size_t position = 0;
  const char32_t first = decode(text, position);
  std::string result;
  append_utf8(result, static_cast<char32_t>(u_totitle(static_cast<UChar32>(first))));
  return result + lower(text.substr(position));
}

std::string title(std::string_view text) {
  std::string result;
  bool inside = false;  // the code point before was a letter with case
  for (size_t position = 0; position < text.size();) {
    const auto c = static_cast<UChar32>(decode(text, position));
    append_utf8(result, static_cast<char32_t>(inside ? u_tolower(c) : u_totitle(c)));
    inside = is_cased(static_cast<char32_t>(c));
  }
  return result;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t end = position;
    const char32_t c = decode(text, position);
    if (!is_line_end(c)) continue;
    lines.push_back(text.substr(begin, end - begin));
    if (c == '\r' && position < text.size() && text[position] == '\n') ++position;
    begin = position;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

}  // namespace skvis::jinja
