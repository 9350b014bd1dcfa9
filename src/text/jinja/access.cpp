// SPDX-License-Identifier: Apache-2.0
// Members, items, slices and membership.
#include <algorithm>
#include <limits>

#include "text/jinja/literals.hpp"
#include "text/jinja/runtime.hpp"
#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

Value missing(const Value& object, std::string_view name) {
  return Value::undefined(
      fmt::format("{} has no member '{}'", object.type_name(), name.substr(0, 60)));
}

Value loop_member(const LoopState& loop, const Value& object, std::string_view name) {
  const auto size = static_cast<int64_t>(loop.items->items.size());
  const auto index = static_cast<int64_t>(loop.index);
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(size - index);
  if (name == "revindex0") return Value(size - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == size);
  if (name == "length") return Value(size);
  if (name == "depth") return Value(int64_t{1});  // counts recursive loops only
  if (name == "depth0") return Value(int64_t{0});
  if (name == "previtem") {
    return index == 0 ? missing(object, name) : loop.items->items[loop.index - 1];
  }
  if (name == "nextitem") {
    return index + 1 == size ? missing(object, name) : loop.items->items[loop.index + 1];
  }
  if (name == "cycle") {
    return Value(std::make_shared<const Callable>(
        Callable{.kind = Callable::Kind::kMethod, .name = "cycle", .self = object}));
  }
  return missing(object, name);
}

// Python's slice of `size` things as a list of their places.
Result<std::vector<size_t>> slice_places(size_t size, const Value& start, const Value& stop,
                                         const Value& step) {
  const auto count = static_cast<int64_t>(size);
  for (const Value* part : {&start, &stop, &step}) {
    if (!part->is_none() && !part->as_integer()) {
      return fail("a slice needs integers, found {}", part->type_name());
    }
  }
  const int64_t stride = step.is_none() ? 1 : *step.as_integer();
  if (stride == 0) return fail("the step of a slice cannot be zero");
  const int64_t lowest = stride < 0 ? -1 : 0;
  const int64_t highest = stride < 0 ? count - 1 : count;
  const auto place = [&](const Value& bound, int64_t fallback) {
    if (bound.is_none()) return fallback;
    int64_t value = *bound.as_integer();
    if (value < 0) value += count;
    return std::clamp(value, lowest, highest);
  };
  const int64_t begin = place(start, stride < 0 ? highest : lowest);
  const int64_t end = place(stop, stride < 0 ? lowest : highest);
  std::vector<size_t> places;
  const int64_t bounded = std::clamp<int64_t>(stride, -count - 1, count + 1);
  for (int64_t i = begin; bounded > 0 ? i < end : i > end; i += bounded) {
    places.push_back(static_cast<size_t>(i));
  }
  return places;
}

std::optional<size_t> wrapped(int64_t index, size_t size) {
  const auto count = static_cast<int64_t>(size);
  if (index < 0 && index >= -count) index += count;
  if (index < 0 || index >= count) return std::nullopt;
  return static_cast<size_t>(index);
}

}  // namespace

Result<Value> get_attribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) return fail("{}", object.undefined_reason());
  if (const auto* loop = object.loop()) return loop_member(*loop, object, name);
  if (const auto* space = object.name_space()) {
    const auto found = space->members.find(std::string(name));
    return found == space->members.end() ? missing(object, name) : found->second;
  }
  if (is_changing_method(object, name)) {
    return Value::undefined(
        fmt::format("'{}': {} cannot be changed in a chat template", name, object.type_name()));
  }
  if (find_method(object, name) != nullptr) {
    return Value(std::make_shared<const Callable>(
        Callable{.kind = Callable::Kind::kMethod, .name = std::string(name), .self = object}));
  }
  if (const auto* dict = object.dict()) {
    if (const Value* found = dict->find(name)) return *found;
  }
  return missing(object, name);
}

Result<Value> get_item(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is_undefined()) return fail("{}", object.undefined_reason());
  SKVIS_CHECK(runtime.charge_value(key));
  if (const auto* dict = object.dict()) {
    if (const Value* found = dict->find(key)) return *found;
  }
  const auto index = key.as_integer();
  if (const auto* list = object.list(); list != nullptr && index) {
    if (const auto place = wrapped(*index, list->items.size())) return list->items[*place];
  }
  if (const auto* text = object.string(); text != nullptr && index) {
    SKVIS_CHECK(runtime.charge(text->size()));
    const auto letters = characters(*text);
    if (const auto place = wrapped(*index, letters.size())) return Value(letters[*place]);
  }
  if (const auto* name = key.string()) return get_attribute(object, *name);
  return missing(object, index ? fmt::format("{}", *index) : std::string(key.type_name()));
}

Result<Value> get_slice(Runtime& runtime, const Value& object, const Value& start,
                        const Value& stop, const Value& step) {
  if (object.is_undefined()) return fail("{}", object.undefined_reason());
  if (const auto* text = object.string()) {
    SKVIS_CHECK(runtime.charge(text->size()));
    const auto letters = characters(*text);
    SKVIS_TRY(const auto places, slice_places(letters.size(), start, stop, step));
    std::string result;
    for (const size_t place : places) result += letters[place];
    return Value(std::move(result));
  }
  const auto* list = object.list();
  if (list == nullptr) return fail("{} cannot be sliced", object.type_name());
  SKVIS_CHECK(runtime.charge(list->items.size()));
  SKVIS_TRY(const auto places, slice_places(list->items.size(), start, stop, step));
  std::vector<Value> items;
  items.reserve(places.size());
  for (const size_t place : places) items.push_back(list->items[place]);
  return list->tuple ? make_tuple(std::move(items)) : make_list(std::move(items));
}

Result<Value> get_path(Runtime& runtime, const Value& object, std::string_view path) {
  Value value = object;
  while (true) {
    SKVIS_CHECK(runtime.charge(1));
    const size_t dot = path.find('.');
    const std::string_view part = path.substr(0, dot);
    int64_t index = 0;
    const bool is_index = !part.empty() && part.find_first_not_of("0123456789") == part.npos &&
                          parse_integer(part, 10, index);
    SKVIS_TRY(value, get_item(runtime, value, is_index ? Value(index) : Value(part)));
    if (dot == path.npos) return value;
    path.remove_prefix(dot + 1);
  }
}

Result<std::shared_ptr<const List>> items_of(Runtime& runtime, const Value& value) {
  if (value.list() != nullptr) {
    SKVIS_CHECK(runtime.charge(value.list()->items.size()));
    return value.shared_list();
  }
  std::vector<Value> items;
  if (const auto* dict = value.dict()) {
    SKVIS_CHECK(runtime.charge(dict->entries.size()));
    for (const auto& [key, _] : dict->entries) items.push_back(key);
  } else if (const auto* text = value.string()) {
    // Each character becomes a value of its own.
    SKVIS_CHECK(runtime.charge(text->size()));
    for (const std::string_view letter : characters(*text)) items.emplace_back(letter);
  } else if (!value.is_undefined()) {
    return fail("expected something to iterate over, found {}", value.type_name());
  }
  SKVIS_TRY(const Value list, make_list(std::move(items)));
  return list.shared_list();
}

Result<bool> contains(Runtime& runtime, const Value& container, const Value& item) {
  if (const auto* text = container.string()) {
    const auto* part = item.string();
    if (part == nullptr) return fail("'in' a string needs a string, found {}", item.type_name());
    SKVIS_CHECK(runtime.charge_text(text->size() + part->size()));
    // memmem() of the C library is linear, which std::string::find is not.
    return memmem(text->data(), text->size(), part->data(), part->size()) != nullptr;
  }
  if (const auto* dict = container.dict()) {
    SKVIS_CHECK(runtime.charge_value(item));
    return dict->find(item) != nullptr;
  }
  if (const auto* list = container.list()) {
    for (const Value& candidate : list->items) {
      SKVIS_CHECK(runtime.charge(std::min(extent_of(item).weight, extent_of(candidate).weight)));
      if (equal(candidate, item)) return true;
    }
    return false;
  }
  if (container.is_undefined()) return false;
  return fail("'in' needs a string, a list or a dict, found {}", container.type_name());
}

Result<int64_t> length_of(Runtime& runtime, const Value& value) {
  if (const auto* text = value.string()) {
    SKVIS_CHECK(runtime.charge_text(text->size()));
    return static_cast<int64_t>(count_characters(*text));
  }
  if (const auto* list = value.list()) return static_cast<int64_t>(list->items.size());
  if (const auto* dict = value.dict()) return static_cast<int64_t>(dict->entries.size());
  if (value.is_undefined()) return 0;
  return fail("{} has no length", value.type_name());
}

}  // namespace skvis::jinja
