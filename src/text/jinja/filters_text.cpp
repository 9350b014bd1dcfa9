// SPDX-License-Identifier: Apache-2.0
// Filters that make text from text. Like Jinja's they take any value and work on its text.
#include <algorithm>

#include "text/jinja/filters.hpp"
#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

Result<std::string> text_of(const Call& call) {
  SKVIS_CHECK(call.runtime.charge_value(call.input));
  return to_text(call.input);
}

Result<Value> change_text(const Call& call, std::string (*change)(std::string_view)) {
  SKVIS_TRY(const std::string text, text_of(call));
  return Value(change(text));
}

Result<Value> filter_trim(const Call& call) {
  SKVIS_TRY(const std::string text, text_of(call));
  if (call.bound.get(0) == nullptr || call.bound.get(0)->is_none()) {
    return Value(strip(text, true, true));
  }
  SKVIS_TRY(const std::string set, call.bound.required_text(0));
  SKVIS_CHECK(call.runtime.charge(set.size()));
  return Value(strip(text, true, true, set));
}

// Words begin at the start and behind blanks, '-' and opening brackets.
std::string titled_words(std::string_view text) {
  std::string result;
  bool begins = true;
  std::string_view rest = text;
  for (const std::string_view letter : characters(rest)) {
    size_t position = 0;
    const char32_t c = decode(letter, position);
    const bool separates =
        is_space(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos;
    result += begins && !separates ? upper(letter)
              : separates          ? std::string(letter)
                                   : lower(letter);
    begins = separates;
  }
  return result;
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '\'':
        result += "&#39;";
        break;
      case '"':
        result += "&#34;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

Result<Value> filter_replace(const Call& call) {
  SKVIS_TRY(std::string text, text_of(call));
  SKVIS_TRY(const Value from, call.bound.required(0));
  SKVIS_TRY(const Value to, call.bound.required(1));
  Arguments arguments{.positional = {Value(to_text(from)), Value(to_text(to))}, .named = {}};
  if (const Value* count = call.bound.get(2); count != nullptr && !count->is_none()) {
    arguments.positional.push_back(*count);
  }
  return invoke(*find_builtin(string_methods(), "replace"), "method", call.runtime,
                Value(std::move(text)), arguments);
}

Result<Value> filter_indent(const Call& call) {
  SKVIS_TRY(const std::string text, text_of(call));
  std::string indentation;
  if (const Value* width = call.bound.get(0); width != nullptr && width->string() != nullptr) {
    indentation = *width->string();
  } else {
    SKVIS_TRY(const int64_t spaces, call.bound.integer(0, 4));
    if (spaces > 1000) return fail("the width {} is above 1000", spaces);
    indentation.assign(static_cast<size_t>(std::max<int64_t>(spaces, 0)), ' ');
  }
  const bool first = call.bound.flag(1, false);
  const bool blank = call.bound.flag(2, false);
  auto lines = split_lines(text);
  const char last = text.empty() ? '\n' : text.back();
  if (last == '\n' || last == '\r') lines.emplace_back();
  SKVIS_CHECK(call.runtime.charge_text(lines.size() * (1 + indentation.size())));
  std::string result;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result += '\n';
    if (i == 0 ? first : blank || !lines[i].empty()) result += indentation;
    result += lines[i];
  }
  return Value(std::move(result));
}

Result<Value> filter_format(const Call& call) {
  SKVIS_TRY(const std::string text, text_of(call));
  SKVIS_TRY(const Value values, make_tuple(call.arguments.positional));
  SKVIS_TRY(std::string result, format_percent(call.runtime, text, values));
  return Value(std::move(result));
}

Result<Value> filter_wordcount(const Call& call) {
  SKVIS_TRY(const std::string text, text_of(call));
  int64_t count = 0;
  bool inside = false;
  for (size_t position = 0; position < text.size();) {
    const bool space = is_space(decode(text, position));
    count += !space && !inside ? 1 : 0;
    inside = !space;
  }
  return Value(count);
}

}  // namespace

std::span<const Builtin> text_filters() {
  static const std::vector<Builtin> kTable = {
      {"capitalize", {}, [](const Call& call) { return change_text(call, capitalize); }},
      {"e", {}, [](const Call& call) { return change_text(call, escaped); }},
      {"escape", {}, [](const Call& call) { return change_text(call, escaped); }},
      {"format", {"*"}, filter_format},
      {"indent", {"width", "first", "blank"}, filter_indent},
      {"lower", {}, [](const Call& call) { return change_text(call, lower); }},
      {"replace", {"old", "new", "count"}, filter_replace},
      {"title", {}, [](const Call& call) { return change_text(call, titled_words); }},
      {"trim", {"chars"}, filter_trim},
      {"upper", {}, [](const Call& call) { return change_text(call, upper); }},
      {"wordcount", {}, filter_wordcount},
  };
  return kTable;
}

}  // namespace skvis::jinja
