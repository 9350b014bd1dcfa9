// SPDX-License-Identifier: Apache-2.0
// Values as text: what Python's str() and repr() would print.
#include <charconv>
#include <cmath>

#include "text/jinja/unicode.hpp"
#include "text/jinja/value.hpp"

namespace skvis::jinja {
namespace {

void append_quoted(std::string& out, const std::string& text) {
  const bool double_quotes =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  out += quote;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    const char32_t c = decode(text, position);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out.append(text, begin, position - begin);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  out += quote;
}

void append_repr(std::string& out, const Value& value);

void append_list(std::string& out, const List& list) {
  out += list.tuple ? '(' : '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, list.items[i]);
  }
  if (list.tuple && list.items.size() == 1) out += ',';
  out += list.tuple ? ')' : ']';
}

void append_dict(std::string& out, const Dict& dict) {
  out += '{';
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, dict.entries[i].first);
    out += ": ";
    append_repr(out, dict.entries[i].second);
  }
  out += '}';
}

void append_repr(std::string& out, const Value& value) {
  if (value.is_undefined()) {
    out += "Undefined";
  } else if (value.is_none()) {
    out += "None";
  } else if (const auto* flag = value.boolean()) {
    out += *flag ? "True" : "False";
  } else if (const auto* whole = value.integer()) {
    out += fmt::format("{}", *whole);
  } else if (const auto* number = value.floating()) {
    out += float_text(*number);
  } else if (const auto* text = value.string()) {
    append_quoted(out, *text);
  } else if (const auto* list = value.list()) {
    append_list(out, *list);
  } else if (const auto* dict = value.dict()) {
    append_dict(out, *dict);
  } else if (value.loop() != nullptr) {
    out += "<loop>";
  } else if (const auto* callable = value.callable()) {
    out += fmt::format("<function {}>", callable->name);
  } else {
    out += "<namespace>";
  }
}

}  // namespace

// The shortest digits that read back as the same number, with an exponent below 1e-4 and from 1e16.
std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char digits[64];
  const auto size = [&](std::chars_format format) {
    return std::to_chars(digits, digits + sizeof digits, number, format).ptr - digits;
  };
  const double magnitude = std::abs(number);
  if (magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16)) {
    return std::string(digits, static_cast<size_t>(size(std::chars_format::scientific)));
  }
  std::string text(digits, static_cast<size_t>(size(std::chars_format::fixed)));
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string to_repr(const Value& value) {
  std::string out;
  append_repr(out, value);
  return out;
}

std::string to_text(const Value& value) {
  if (value.is_undefined()) return {};
  if (const auto* text = value.string()) return *text;
  return to_repr(value);
}

}  // namespace skvis::jinja
