// SPDX-License-Identifier: Apache-2.0
// The methods of strings. Positions count code points, as in Python.
#include <algorithm>
#include <cstring>

#include "text/jinja/runtime.hpp"
#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

constexpr size_t kNowhere = std::string_view::npos;

// The C library's search is linear; that of std::string is not, and both texts may be hostile.
size_t find_text(std::string_view text, std::string_view part, size_t begin = 0) {
  if (begin > text.size()) return kNowhere;
  const void* found = memmem(text.data() + begin, text.size() - begin, part.data(), part.size());
  return found == nullptr ? kNowhere
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

// Places of `part`, without overlap, from the left.
std::vector<size_t> places_of(std::string_view text, std::string_view part, size_t at_most) {
  std::vector<size_t> places;
  for (size_t place = 0; places.size() < at_most;) {
    place = find_text(text, part, place);
    if (place == kNowhere) break;
    places.push_back(place);
    place += part.size();
  }
  return places;
}

// The same from the right: candidates that overlap differ.
std::vector<size_t> places_from_right(std::string_view text, std::string_view part,
                                      size_t at_most) {
  std::vector<size_t> places;
  for (size_t end = text.size(); places.size() < at_most && end >= part.size();) {
    const size_t place = text.rfind(part, end - part.size());
    if (place == kNowhere) break;
    places.push_back(place);
    end = place;
  }
  std::reverse(places.begin(), places.end());
  return places;
}

const std::string& self(const Call& call) {
  return *call.input.string();
}

Result<void> charge_self(const Call& call) {
  return call.runtime.charge_text(self(call).size());
}

// rfind compares `part` anew at every place.
Result<void> charge_backward_search(const Call& call, std::string_view part) {
  return call.runtime.charge(self(call).size() * (1 + part.size() / 64) / 8);
}

Result<size_t> limit(const Call& call, size_t parameter) {
  SKVIS_TRY(const int64_t count, call.bound.integer(parameter, -1));
  return count < 0 ? SIZE_MAX : static_cast<size_t>(count);
}

Result<Value> change(const Call& call, std::string (*function)(std::string_view)) {
  SKVIS_CHECK(charge_self(call));
  return Value(function(self(call)));
}

Result<Value> stripped(const Call& call, bool left, bool right) {
  SKVIS_CHECK(charge_self(call));
  const Value* given = call.bound.get(0);
  if (given == nullptr || given->is_none()) return Value(strip(self(call), left, right));
  SKVIS_TRY(const std::string set, call.bound.required_text(0));
  SKVIS_CHECK(call.runtime.charge(set.size()));
  return Value(strip(self(call), left, right, set));
}

Result<Value> list_of_texts(const Call& call, const std::vector<std::string_view>& parts) {
  SKVIS_CHECK(call.runtime.charge(parts.size() * 2));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.emplace_back(part);
  return make_list(std::move(items));
}

// split() without a separator: at runs of white space, none at the ends.
std::vector<std::string_view> split_at_space(std::string_view text, size_t at_most) {
  std::vector<std::string_view> parts;
  text = strip(text, true, false);
  while (!text.empty()) {
    if (parts.size() == at_most) {
      parts.push_back(strip(text, false, true));
      return parts;
    }
    size_t end = 0;
    for (size_t next = 0; next < text.size(); end = next) {
      if (is_space(decode(text, next))) break;
    }
    parts.push_back(text.substr(0, end));
    text = strip(text.substr(end), true, false);
  }
  return parts;
}

// rsplit() without a separator, the last `at_most` words and the text before them.
std::vector<std::string_view> split_at_last_space(std::string_view text, size_t at_most) {
  auto parts = split_at_space(text, SIZE_MAX);
  if (parts.size() <= at_most) return parts;
  const size_t first = parts.size() - at_most;
  const char* end = parts[first - 1].data() + parts[first - 1].size();
  const std::string_view head(parts[0].data(), static_cast<size_t>(end - parts[0].data()));
  std::vector<std::string_view> result = {head};
  result.insert(result.end(), parts.begin() + static_cast<ptrdiff_t>(first), parts.end());
  return result;
}

Result<Value> split(const Call& call, bool from_right) {
  SKVIS_CHECK(charge_self(call));
  SKVIS_TRY(const size_t at_most, limit(call, 1));
  const std::string& text = self(call);
  if (call.bound.get(0) == nullptr || call.bound.get(0)->is_none()) {
    SKVIS_CHECK(call.runtime.charge(text.size()));
    return list_of_texts(
        call, from_right ? split_at_last_space(text, at_most) : split_at_space(text, at_most));
  }
  SKVIS_TRY(const std::string separator, call.bound.required_text(0));
  if (separator.empty()) return fail("the separator is empty");
  std::vector<size_t> places;
  if (from_right) {
    SKVIS_CHECK(charge_backward_search(call, separator));
    places = places_from_right(text, separator, at_most);
  } else {
    places = places_of(text, separator, at_most);
  }
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (const size_t place : places) {
    parts.push_back(std::string_view(text).substr(begin, place - begin));
    begin = place + separator.size();
  }
  parts.push_back(std::string_view(text).substr(begin));
  return list_of_texts(call, parts);
}

Result<Value> replace(const Call& call) {
  SKVIS_TRY(const std::string from, call.bound.required_text(0));
  SKVIS_TRY(const std::string to, call.bound.required_text(1));
  SKVIS_TRY(const size_t at_most, limit(call, 2));
  SKVIS_CHECK(charge_self(call));
  const std::string& text = self(call);
  std::vector<size_t> places;
  if (from.empty()) {
    SKVIS_CHECK(call.runtime.charge(text.size()));
    for (size_t position = 0; places.size() < at_most;) {
      places.push_back(position);
      if (position >= text.size()) break;
      decode(text, position);
    }
  } else {
    places = places_of(text, from, at_most);
  }
  SKVIS_CHECK(call.runtime.charge(places.size() * (1 + to.size() / 8)));
  std::string result;
  size_t begin = 0;
  for (const size_t place : places) {
    result.append(text, begin, place - begin);
    result += to;
    begin = place + from.size();
  }
  result.append(text, begin);
  return Value(std::move(result));
}

// startswith and endswith take one string or a tuple of them.
Result<Value> has_end(const Call& call, bool at_start) {
  SKVIS_TRY(const Value wanted, call.bound.required(0));
  std::vector<Value> candidates = {wanted};
  if (const auto* list = wanted.list(); list != nullptr && list->tuple) candidates = list->items;
  bool holds = false;
  for (const Value& candidate : candidates) {
    const auto* text = candidate.string();
    if (text == nullptr) return fail("expected a string, found {}", candidate.type_name());
    SKVIS_CHECK(call.runtime.charge_text(text->size()));
    holds = holds || (at_start ? self(call).starts_with(*text) : self(call).ends_with(*text));
  }
  return Value(holds);
}

// The position of the byte `place`, or -1.
int64_t position_of(std::string_view text, size_t place) {
  return place == kNowhere ? -1 : static_cast<int64_t>(count_characters(text.substr(0, place)));
}

Result<Value> find(const Call& call) {
  SKVIS_TRY(const std::string part, call.bound.required_text(0));
  SKVIS_TRY(const int64_t start, call.bound.integer(1, 0));
  if (start < 0) return fail("a negative start is not supported");
  const std::string& text = self(call);
  SKVIS_CHECK(call.runtime.charge_text(text.size()));
  if (static_cast<size_t>(start) > text.size()) return Value(int64_t{-1});
  size_t begin = 0;
  for (int64_t i = 0; i < start && begin < text.size(); ++i) decode(text, begin);
  return Value(position_of(text, find_text(text, part, begin)));
}

Result<Value> find_last(const Call& call) {
  SKVIS_TRY(const std::string part, call.bound.required_text(0));
  SKVIS_CHECK(charge_backward_search(call, part));
  return Value(position_of(self(call), self(call).rfind(part)));
}

Result<Value> index(const Call& call) {
  SKVIS_TRY(Value position, find(call));
  if (*position.integer() < 0) return fail("the text was not found");
  return position;
}

Result<Value> count(const Call& call) {
  SKVIS_TRY(const std::string part, call.bound.required_text(0));
  SKVIS_CHECK(charge_self(call));
  if (part.empty()) return Value(static_cast<int64_t>(count_characters(self(call)) + 1));
  return Value(static_cast<int64_t>(places_of(self(call), part, SIZE_MAX).size()));
}

Result<Value> join(const Call& call) {
  SKVIS_TRY(const Value sequence, call.bound.required(0));
  SKVIS_TRY(const auto items, items_of(call.runtime, sequence));
  std::string result;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const auto* text = items->items[i].string();
    if (text == nullptr) {
      return fail("item {} must be a string, found {}", i, items->items[i].type_name());
    }
    SKVIS_CHECK(call.runtime.charge_text(text->size() + self(call).size()));
    if (i > 0) result += self(call);
    result += *text;
  }
  return Value(std::move(result));
}

Result<Value> without_end(const Call& call, bool at_start) {
  SKVIS_TRY(const std::string part, call.bound.required_text(0));
  SKVIS_CHECK(charge_self(call));
  std::string_view text = self(call);
  if (at_start && text.starts_with(part)) text.remove_prefix(part.size());
  if (!at_start && text.ends_with(part)) text.remove_suffix(part.size());
  return Value(text);
}

Result<Value> partition(const Call& call, bool from_right) {
  SKVIS_TRY(const std::string separator, call.bound.required_text(0));
  if (separator.empty()) return fail("the separator is empty");
  const std::string_view text = self(call);
  SKVIS_CHECK(charge_backward_search(call, separator));
  const size_t place = from_right ? text.rfind(separator) : find_text(text, separator);
  if (place == kNowhere) {
    const Value none(std::string_view{});
    return from_right ? make_tuple({none, none, call.input}) : make_tuple({call.input, none, none});
  }
  return make_tuple({Value(text.substr(0, place)), Value(separator),
                     Value(text.substr(place + separator.size()))});
}

Result<Value> padded(const Call& call, int side) {
  SKVIS_TRY(const int64_t width, call.bound.integer(0, 0));
  SKVIS_TRY(const std::string fill, call.bound.text(1, " "));
  if (width > 10'000) return fail("the width {} is above 10000", width);
  SKVIS_CHECK(call.runtime.charge_text(self(call).size() + 10'000));
  const auto size = static_cast<int64_t>(count_characters(self(call)));
  if (size >= width) return call.input;
  if (fill.size() != 1) return fail("the fill must be one character");
  const auto missing = static_cast<size_t>(width - size);
  const size_t left = side < 0   ? 0
                      : side > 0 ? missing
                                 : missing / 2 + (missing & static_cast<size_t>(width) & 1);
  return Value(std::string(left, fill[0]) + self(call) + std::string(missing - left, fill[0]));
}

template <bool (*kHolds)(char32_t)>
Result<Value> all_are(const Call& call) {
  SKVIS_CHECK(charge_self(call));
  const std::string& text = self(call);
  bool holds = !text.empty();
  for (size_t position = 0; holds && position < text.size();)
    holds = kHolds(decode(text, position));
  return Value(holds);
}

Result<Value> has_case(const Call& call, std::string (*function)(std::string_view)) {
  SKVIS_CHECK(charge_self(call));
  const std::string& text = self(call);
  bool cased = false;
  for (size_t position = 0; !cased && position < text.size();)
    cased = is_cased(decode(text, position));
  return Value(cased && function(text) == text);
}

Result<Value> lines(const Call& call) {
  SKVIS_CHECK(charge_self(call));
  if (call.bound.flag(0, false)) return fail("keepends is not supported");
  return list_of_texts(call, split_lines(self(call)));
}

}  // namespace

std::span<const Builtin> string_methods() {
  static const std::vector<Builtin> kTable = {
      {"capitalize", {}, [](const Call& call) { return change(call, capitalize); }},
      {"casefold", {}, [](const Call& call) { return change(call, lower); }},
      {"center", {"width", "fill"}, [](const Call& call) { return padded(call, 0); }},
      {"count", {"sub"}, count},
      {"endswith", {"suffix"}, [](const Call& call) { return has_end(call, false); }},
      {"find", {"sub", "start"}, find},
      {"index", {"sub", "start"}, index},
      {"isalnum", {}, all_are<is_alphanumeric>},
      {"isalpha", {}, all_are<is_letter>},
      {"isdigit", {}, all_are<is_digit>},
      {"islower", {}, [](const Call& call) { return has_case(call, lower); }},
      {"isspace", {}, all_are<is_space>},
      {"isupper", {}, [](const Call& call) { return has_case(call, upper); }},
      {"join", {"iterable"}, join},
      {"ljust", {"width", "fill"}, [](const Call& call) { return padded(call, -1); }},
      {"lower", {}, [](const Call& call) { return change(call, lower); }},
      {"lstrip", {"chars"}, [](const Call& call) { return stripped(call, true, false); }},
      {"partition", {"sep"}, [](const Call& call) { return partition(call, false); }},
      {"removeprefix", {"prefix"}, [](const Call& call) { return without_end(call, true); }},
      {"removesuffix", {"suffix"}, [](const Call& call) { return without_end(call, false); }},
      {"replace", {"old", "new", "count"}, replace},
      {"rfind", {"sub"}, find_last},
      {"rjust", {"width", "fill"}, [](const Call& call) { return padded(call, 1); }},
      {"rpartition", {"sep"}, [](const Call& call) { return partition(call, true); }},
      {"rsplit", {"sep", "maxsplit"}, [](const Call& call) { return split(call, true); }},
      {"rstrip", {"chars"}, [](const Call& call) { return stripped(call, false, true); }},
      {"split", {"sep", "maxsplit"}, [](const Call& call) { return split(call, false); }},
      {"splitlines", {"keepends"}, lines},
      {"startswith", {"prefix"}, [](const Call& call) { return has_end(call, true); }},
      {"strip", {"chars"}, [](const Call& call) { return stripped(call, true, true); }},
      {"title", {}, [](const Call& call) { return change(call, title); }},
      {"upper", {}, [](const Call& call) { return change(call, upper); }},
  };
  return kTable;
}

}  // namespace skvis::jinja
