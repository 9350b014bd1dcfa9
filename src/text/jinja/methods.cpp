// SPDX-License-Identifier: Apache-2.0
// Methods of lists, dicts and the loop.
#include <algorithm>

#include "text/jinja/runtime.hpp"

namespace skvis::jinja {
namespace {

Result<Value> list_index(const Call& call) {
  SKVIS_TRY(const Value wanted, call.bound.required(0));
  const auto& items = call.input.list()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    SKVIS_CHECK(
        call.runtime.charge(std::min(extent_of(items[i]).weight, extent_of(wanted).weight)));
    if (equal(items[i], wanted)) return Value(static_cast<int64_t>(i));
  }
  return fail("the value is not in the list");
}

Result<Value> list_count(const Call& call) {
  SKVIS_TRY(const Value wanted, call.bound.required(0));
  int64_t count = 0;
  for (const Value& item : call.input.list()->items) {
    SKVIS_CHECK(call.runtime.charge(std::min(extent_of(item).weight, extent_of(wanted).weight)));
    count += equal(item, wanted) ? 1 : 0;
  }
  return Value(count);
}

Result<Value> dict_get(const Call& call) {
  SKVIS_TRY(const Value key, call.bound.required(0));
  SKVIS_CHECK(call.runtime.charge_value(key));
  if (const Value* found = call.input.dict()->find(key)) return *found;
  return call.bound.get(1) == nullptr ? Value(None{}) : *call.bound.get(1);
}

Result<Value> dict_items(const Call& call) {
  return apply_filter(call.runtime, "items", call.input, {});
}

Result<Value> dict_keys(const Call& call) {
  return apply_filter(call.runtime, "list", call.input, {});
}

Result<Value> dict_values(const Call& call) {
  const auto& entries = call.input.dict()->entries;
  SKVIS_CHECK(call.runtime.charge(entries.size()));
  std::vector<Value> items;
  items.reserve(entries.size());
  for (const auto& [_, value] : entries) items.push_back(value);
  return make_list(std::move(items));
}

Result<Value> dict_copy(const Call& call) {
  return call.input;
}

Result<Value> loop_cycle(const Call& call) {
  const auto& choices = call.arguments.positional;
  if (choices.empty()) return fail("needs at least one value");
  return choices[call.input.loop()->index % choices.size()];
}

std::span<const Builtin> list_methods() {
  static const std::vector<Builtin> kTable = {
      {"count", {"value"}, list_count},
      {"index", {"value"}, list_index},
  };
  return kTable;
}

std::span<const Builtin> dict_methods() {
  static const std::vector<Builtin> kTable = {
      {"copy", {}, dict_copy}, {"get", {"key", "default"}, dict_get}, {"items", {}, dict_items},
      {"keys", {}, dict_keys}, {"values", {}, dict_values},
  };
  return kTable;
}

std::span<const Builtin> loop_methods() {
  static const std::vector<Builtin> kTable = {{"cycle", {"*"}, loop_cycle}};
  return kTable;
}

constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};

}  // namespace

bool is_changing_method(const Value& self, std::string_view name) {
  if (self.dict() != nullptr)
    return std::ranges::find(kDictChanges, name) != std::end(kDictChanges);
  const auto* list = self.list();
  return list != nullptr && !list->tuple &&
         std::ranges::find(kListChanges, name) != std::end(kListChanges);
}

const Builtin* find_method(const Value& self, std::string_view name) {
  if (self.string() != nullptr) return find_builtin(string_methods(), name);
  if (self.list() != nullptr) return find_builtin(list_methods(), name);
  if (self.dict() != nullptr) return find_builtin(dict_methods(), name);
  if (self.loop() != nullptr) return find_builtin(loop_methods(), name);
  return nullptr;
}

}  // namespace skvis::jinja
