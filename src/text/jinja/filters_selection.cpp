// SPDX-License-Identifier: Apache-2.0
// Filters that apply a filter or a test to every item: map, select and their kin; and groupby.
#include "text/jinja/filters.hpp"

namespace skvis::jinja {
namespace {

using Items = std::shared_ptr<const List>;

const Value* named(const Arguments& arguments, std::string_view name) {
  for (const auto& [key, value] : arguments.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Result<std::string> leading_name(const Arguments& arguments, size_t place, std::string_view what) {
  if (arguments.positional.size() <= place || arguments.positional[place].string() == nullptr) {
    return fail("argument {} must be the name of {}", place + 1, what);
  }
  return *arguments.positional[place].string();
}

Arguments without_leading(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<ptrdiff_t>(count));
  return rest;
}

Result<Value> map_attribute(const Call& call, const Items& items, const Value& attribute) {
  const Value* fallback = named(call.arguments, "default");
  const std::string path = to_text(attribute);
  std::vector<Value> result;
  for (const Value& item : items->items) {
    SKVIS_TRY(Value member, get_path(call.runtime, item, path));
    if (member.is_undefined() && fallback != nullptr) member = *fallback;
    result.push_back(std::move(member));
  }
  return make_list(std::move(result));
}

Result<Value> filter_map(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  if (const Value* attribute = named(call.arguments, "attribute")) {
    return map_attribute(call, items, *attribute);
  }
  SKVIS_TRY(const std::string filter, leading_name(call.arguments, 0, "a filter"));
  const Arguments rest = without_leading(call.arguments, 1);
  std::vector<Value> result;
  for (const Value& item : items->items) {
    SKVIS_CHECK(call.runtime.charge(1));
    SKVIS_TRY(Value mapped, apply_filter(call.runtime, filter, item, rest));
    result.push_back(std::move(mapped));
  }
  return make_list(std::move(result));
}

// Items, or with `by_attribute` those whose member, that pass the test (`wanted`) or fail it.
Result<Value> choose(const Call& call, bool by_attribute, bool wanted) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  std::string path;
  const size_t skipped = by_attribute ? 1 : 0;
  if (by_attribute) {
    if (call.arguments.positional.empty()) return fail("argument 1 must name an attribute");
    path = to_text(call.arguments.positional[0]);
  }
  std::string test;  // empty: by truth
  Arguments rest;
  if (call.arguments.positional.size() > skipped) {
    SKVIS_TRY(test, leading_name(call.arguments, skipped, "a test"));
    rest = without_leading(call.arguments, skipped + 1);
  }
  std::vector<Value> result;
  for (const Value& item : items->items) {
    SKVIS_CHECK(call.runtime.charge(1));
    Value subject = item;
    if (by_attribute) {
      SKVIS_TRY(subject, get_path(call.runtime, item, path));
    }
    bool passes = subject.truthy();
    if (!test.empty()) {
      SKVIS_TRY(passes, apply_test(call.runtime, test, subject, rest));
    }
    if (passes == wanted) result.push_back(item);
  }
  return make_list(std::move(result));
}

// Pairs (value, items with it), sorted by the value.
Result<Value> filter_groupby(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  SKVIS_TRY(const Value attribute, call.bound.required(0));
  const bool case_sensitive = call.bound.flag(2, false);
  std::vector<Value> keys;
  std::vector<Value> labels;
  for (const Value& item : items->items) {
    SKVIS_TRY(Value label, get_path(call.runtime, item, to_text(attribute)));
    if (label.is_undefined() && call.bound.get(1) != nullptr) label = *call.bound.get(1);
    SKVIS_TRY(Value key, comparison_key(call.runtime, label, nullptr, case_sensitive));
    keys.push_back(std::move(key));
    labels.push_back(std::move(label));
  }
  SKVIS_TRY(const auto order, sorted_order(call.runtime, keys, false));
  std::vector<Value> groups;
  for (size_t begin = 0; begin < order.size();) {
    std::vector<Value> members;
    size_t end = begin;
    while (end < order.size() && equal(keys[order[begin]], keys[order[end]])) {
      SKVIS_CHECK(call.runtime.charge(extent_of(keys[order[end]]).weight));
      members.push_back(items->items[order[end++]]);
    }
    SKVIS_TRY(Value list, make_list(std::move(members)));
    SKVIS_TRY(Value group, make_tuple({labels[order[begin]], std::move(list)}));
    groups.push_back(std::move(group));
    begin = std::max(end, begin + 1);
  }
  return make_list(std::move(groups));
}

}  // namespace

std::span<const Builtin> selection_filters() {
  static const std::vector<Builtin> kTable = {
      {"groupby", {"attribute", "default", "case_sensitive"}, filter_groupby},
      {"map", {"*"}, filter_map},
      {"reject", {"*"}, [](const Call& call) { return choose(call, false, false); }},
      {"rejectattr", {"*"}, [](const Call& call) { return choose(call, true, false); }},
      {"select", {"*"}, [](const Call& call) { return choose(call, false, true); }},
      {"selectattr", {"*"}, [](const Call& call) { return choose(call, true, true); }},
  };
  return kTable;
}

Result<Value> apply_filter(Runtime& runtime, std::string_view name, const Value& input,
                           const Arguments& arguments) {
  for (const auto table :
       {text_filters(), value_filters(), sequence_filters(), selection_filters()}) {
    if (const Builtin* filter = find_builtin(table, name)) {
      return invoke(*filter, "filter", runtime, input, arguments);
    }
  }
  return fail("there is no filter '{}'", name.substr(0, 60));
}

bool is_filter(std::string_view name) {
  for (const auto table :
       {text_filters(), value_filters(), sequence_filters(), selection_filters()}) {
    if (find_builtin(table, name) != nullptr) return true;
  }
  return false;
}

}  // namespace skvis::jinja
