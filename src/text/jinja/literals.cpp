// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/literals.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

int digit_value(char c) {
  if (is_ascii_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

// End of a run of digits of `base`; single underscores may stand between digits.
size_t digits_end(std::string_view text, size_t begin, int base) {
  size_t end = begin;
  while (end < text.size()) {
    const bool grouped = text[end] == '_' && end > begin && end + 1 < text.size() &&
                         digit_value(text[end + 1]) < base;
    if (!grouped && digit_value(text[end]) >= base) break;
    ++end;
  }
  return end;
}

int prefix_base(std::string_view text) {
  if (text.size() < 3 || text[0] != '0') return 10;
  int base = 10;
  if (text[1] == 'x' || text[1] == 'X') base = 16;
  if (text[1] == 'o' || text[1] == 'O') base = 8;
  if (text[1] == 'b' || text[1] == 'B') base = 2;
  return base != 10 && digit_value(text[2]) < base ? base : 10;
}

std::string without_groups(std::string_view text) {
  std::string digits(text);
  digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
  return digits;
}

// End of the float that `text` begins with, or `whole` where it is no float.
size_t float_end(std::string_view text, size_t whole) {
  size_t end = whole;
  if (end + 1 < text.size() && text[end] == '.' && is_ascii_digit(text[end + 1])) {
    end = digits_end(text, end + 1, 10);
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    size_t exponent = end + 1;
    if (exponent < text.size() && (text[exponent] == '+' || text[exponent] == '-')) ++exponent;
    if (exponent < text.size() && is_ascii_digit(text[exponent]))
      end = digits_end(text, exponent, 10);
  }
  return end;
}

double to_double(const std::string& digits) {
  double number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc::result_out_of_range) return number;
  // Too large or too small for a double; the sign of the exponent tells which.
  const bool small = digits.find("e-") != digits.npos || digits.find("E-") != digits.npos;
  const double magnitude = small ? 0.0 : std::numeric_limits<double>::infinity();
  return digits.front() == '-' ? -magnitude : magnitude;
}

// A code point of `count` hexadecimal digits at `position`; false when they are not there.
bool read_hex(std::string_view text, size_t position, size_t count, uint32_t& code_point) {
  if (position + count > text.size()) return false;
  code_point = 0;
  for (size_t i = 0; i < count; ++i) {
    const int value = digit_value(text[position + i]);
    if (value > 15) return false;
    code_point = code_point * 16 + static_cast<uint32_t>(value);
  }
  return true;
}

// The escape whose letter is at `position` (behind the backslash); moves behind the escape.
Result<void> append_coded(std::string& out, std::string_view text, size_t& position) {
  const char letter = text[position];
  const size_t count = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
  uint32_t code_point = 0;
  if (!read_hex(text, position + 1, count, code_point)) {
    return fail("'\\{}' in a string needs {} hexadecimal digits", letter, count);
  }
  position += 1 + count;
  uint32_t low = 0;
  const bool pair = code_point >= 0xD800 && code_point < 0xDC00 &&
                    text.substr(position, 2) == "\\u" && read_hex(text, position + 2, 4, low) &&
                    low >= 0xDC00 && low < 0xE000;
  if (pair) {
    code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
    position += 6;
  }
  append_utf8(out, code_point);
  return {};
}

void append_octal(std::string& out, std::string_view text, size_t& position) {
  uint32_t code_point = 0;
  for (int i = 0; i < 3 && position < text.size() && digit_value(text[position]) < 8; ++i) {
    code_point = code_point * 8 + static_cast<uint32_t>(digit_value(text[position++]));
  }
  append_utf8(out, code_point);
}

}  // namespace

Result<NumberLiteral> read_number(std::string_view text, bool may_be_float) {
  NumberLiteral literal;
  const int base = prefix_base(text);
  const size_t begin = base == 10 ? 0 : 2;
  literal.size = digits_end(text, begin, base);
  const size_t end = may_be_float && base == 10 ? float_end(text, literal.size) : literal.size;
  if (end > literal.size) {
    literal.size = end;
    literal.is_float = true;
    literal.real = to_double(without_groups(text.substr(0, end)));
    return literal;
  }
  if (!parse_integer(text.substr(begin, literal.size - begin), base, literal.integer)) {
    return fail("the number {} does not fit 64 bits", text.substr(0, std::min<size_t>(end, 40)));
  }
  return literal;
}

Result<std::string> unescape(std::string_view text) {
  static constexpr std::string_view kLetters = "ntr\\'\"abfv";
  static constexpr std::string_view kMeanings = "\n\t\r\\'\"\a\b\f\v";
  std::string out;
  for (size_t position = 0; position < text.size();) {
    const char c = text[position++];
    if (c != '\\' || position >= text.size()) {
      out += c;
      continue;
    }
    const char letter = text[position];
    if (const size_t known = kLetters.find(letter); known != kLetters.npos) {
      out += kMeanings[known];
      ++position;
    } else if (letter == '\n') {
      ++position;
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      SKVIS_CHECK(append_coded(out, text, position));
    } else if (digit_value(letter) < 8) {
      append_octal(out, text, position);
    } else {
      out += '\\';
    }
  }
  return out;
}

bool parse_integer(std::string_view text, int base, int64_t& number) {
  text = strip(text, true, true);
  const bool negative = !text.empty() && text.front() == '-';
  std::string digits = negative ? "-" : "";
  if (negative || (!text.empty() && text.front() == '+')) text.remove_prefix(1);
  if (base != 10 && prefix_base(text) == base) text.remove_prefix(2);
  if (text.empty() || digits_end(text, 0, base) != text.size()) return false;
  digits += without_groups(text);
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number, base);
  return error == std::errc() && stop == end;
}

bool parse_float(std::string_view text, double& number) {
  const std::string word = lower(strip(text, true, true));
  std::string_view body = word;
  const bool negative = !body.empty() && body.front() == '-';
  if (negative || (!body.empty() && body.front() == '+')) body.remove_prefix(1);
  if (body == "inf" || body == "infinity") {
    number = std::numeric_limits<double>::infinity();
  } else if (body == "nan") {
    number = std::numeric_limits<double>::quiet_NaN();
  } else {
    std::string digits = without_groups(body);
    if (!digits.empty() && digits.back() == '.') digits.pop_back();
    if (!digits.empty() && digits.front() == '.') digits.insert(digits.begin(), '0');
    if (digits.empty() || !is_ascii_digit(digits.front())) return false;
    if (float_end(digits, digits_end(digits, 0, 10)) != digits.size()) return false;
    number = to_double(digits);
  }
  if (negative) number = -number;
  return true;
}

}  // namespace skvis::jinja
