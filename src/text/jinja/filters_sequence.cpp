// SPDX-License-Identifier: Apache-2.0
// Filters over whole sequences: order, sums, parts. Where Jinja makes a generator these make a
// list.
#include <algorithm>

#include "text/jinja/filters.hpp"
#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

using Items = std::shared_ptr<const List>;

Result<Value> filter_first(const Call& call) {
  if (const auto* text = call.input.string()) {
    size_t end = 0;
    if (!text->empty()) decode(*text, end);
    if (end > 0) return Value(text->substr(0, end));
  }
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  if (items->items.empty()) return Value::undefined("the sequence has no first item");
  return items->items.front();
}

Result<Value> filter_last(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  if (items->items.empty()) return Value::undefined("the sequence has no last item");
  return items->items.back();
}

Result<Value> filter_length(const Call& call) {
  SKVIS_TRY(const int64_t length, length_of(call.runtime, call.input));
  return Value(length);
}

Result<Value> filter_list(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  return make_list(items->items);
}

Result<Value> filter_join(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  const Value* given = call.bound.get(0);
  const std::string separator = given == nullptr ? std::string() : to_text(*given);
  SKVIS_CHECK(call.runtime.charge_text(items->items.size() * separator.size()));
  std::string result;
  for (size_t i = 0; i < items->items.size(); ++i) {
    Value item = items->items[i];
    if (const Value* attribute = call.bound.get(1); attribute != nullptr && !attribute->is_none()) {
      SKVIS_TRY(item, get_path(call.runtime, item, to_text(*attribute)));
    }
    SKVIS_CHECK(call.runtime.charge_value(item));
    if (i > 0) result += separator;
    result += to_text(item);
  }
  return Value(std::move(result));
}

Result<Value> filter_reverse(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  if (call.input.string() == nullptr) {
    return make_list(std::vector<Value>(items->items.rbegin(), items->items.rend()));
  }
  std::string text;
  for (auto letter = items->items.rbegin(); letter != items->items.rend(); ++letter) {
    text += *letter->string();
  }
  return Value(std::move(text));
}

Result<Value> filter_items(const Call& call) {
  if (call.input.is_undefined()) return make_list({});
  const auto* dict = call.input.dict();
  if (dict == nullptr) return fail("expected a dict, found {}", call.input.type_name());
  SKVIS_CHECK(call.runtime.charge(3 * dict->entries.size()));
  std::vector<Value> items;
  for (const auto& [key, value] : dict->entries) {
    SKVIS_TRY(Value pair, make_tuple({key, value}));
    items.push_back(std::move(pair));
  }
  return make_list(std::move(items));
}

Result<std::vector<Value>> keys_of(const Call& call, const std::vector<Value>& items,
                                   const Value* attribute, bool case_sensitive) {
  std::vector<Value> keys;
  keys.reserve(items.size());
  for (const Value& item : items) {
    SKVIS_TRY(Value key, comparison_key(call.runtime, item, attribute, case_sensitive));
    keys.push_back(std::move(key));
  }
  return keys;
}

Result<Value> picked(const std::vector<Value>& items, const std::vector<size_t>& order) {
  std::vector<Value> result;
  result.reserve(order.size());
  for (const size_t place : order) result.push_back(items[place]);
  return make_list(std::move(result));
}

Result<Value> filter_sort(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  SKVIS_TRY(const auto keys,
            keys_of(call, items->items, call.bound.get(2), call.bound.flag(1, false)));
  SKVIS_TRY(const auto order, sorted_order(call.runtime, keys, call.bound.flag(0, false)));
  return picked(items->items, order);
}

Result<Value> filter_dictsort(const Call& call) {
  SKVIS_TRY(const std::string by, call.bound.text(1, "key"));
  if (by != "key" && by != "value") return fail("'by' must be 'key' or 'value', found '{}'", by);
  SKVIS_TRY(const Value pairs, filter_items(call));
  const auto& items = pairs.list()->items;
  const Value place(int64_t{by == "key" ? 0 : 1});
  SKVIS_TRY(const auto keys, keys_of(call, items, &place, call.bound.flag(0, false)));
  SKVIS_TRY(const auto order, sorted_order(call.runtime, keys, call.bound.flag(2, false)));
  return picked(items, order);
}

Result<Value> extreme(const Call& call, int wanted_sign) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  if (items->items.empty()) return Value::undefined("the sequence has no items");
  SKVIS_TRY(const auto keys,
            keys_of(call, items->items, call.bound.get(1), call.bound.flag(0, false)));
  size_t best = 0;
  for (size_t i = 1; i < keys.size(); ++i) {
    SKVIS_CHECK(call.runtime.charge(extent_of(keys[i]).weight));
    SKVIS_TRY(const int sign, compare(keys[i], keys[best]));
    if (sign * wanted_sign > 0) best = i;
  }
  return items->items[best];
}

Result<Value> filter_unique(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  SKVIS_TRY(const auto keys,
            keys_of(call, items->items, call.bound.get(1), call.bound.flag(0, false)));
  std::vector<Value> result;
  DictBuilder seen;
  for (size_t i = 0; i < keys.size(); ++i) {
    SKVIS_CHECK(call.runtime.charge_value(keys[i]));
    SKVIS_TRY(const bool is_new, seen.add(keys[i]));
    if (is_new) result.push_back(items->items[i]);
  }
  return make_list(std::move(result));
}

Result<Value> filter_sum(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  Value total = call.bound.get(1) == nullptr ? Value(int64_t{0}) : *call.bound.get(1);
  for (Value item : items->items) {
    if (const Value* attribute = call.bound.get(0); attribute != nullptr && !attribute->is_none()) {
      SKVIS_TRY(item, get_path(call.runtime, item, to_text(*attribute)));
    }
    SKVIS_TRY(total, arithmetic(call.runtime, "+", total, item));
  }
  return total;
}

Result<Value> filter_batch(const Call& call) {
  SKVIS_TRY(const Items items, items_of(call.runtime, call.input));
  SKVIS_TRY(const int64_t size, call.bound.integer(0, 0));
  if (size < 1 || size > call.runtime.limits().max_range) {
    return fail("the size must be between 1 and {}, found {}", call.runtime.limits().max_range,
                size);
  }
  std::vector<Value> rows;
  std::vector<Value> row;
  const Value* filler = call.bound.get(1);
  for (const Value& item : items->items) {
    row.push_back(item);
    if (row.size() < static_cast<size_t>(size)) continue;
    SKVIS_TRY(Value full, make_list(std::exchange(row, {})));
    rows.push_back(std::move(full));
  }
  if (!row.empty()) {
    SKVIS_CHECK(call.runtime.charge(static_cast<size_t>(size)));
    if (filler != nullptr && !filler->is_none()) row.resize(static_cast<size_t>(size), *filler);
    SKVIS_TRY(Value rest, make_list(std::move(row)));
    rows.push_back(std::move(rest));
  }
  return make_list(std::move(rows));
}

}  // namespace

Result<Value> comparison_key(Runtime& runtime, const Value& item, const Value* attribute,
                             bool case_sensitive) {
  Value key = item;
  if (attribute != nullptr && !attribute->is_none()) {
    SKVIS_TRY(key, get_path(runtime, item, to_text(*attribute)));
  }
  const auto* text = key.string();
  if (text == nullptr || case_sensitive) return key;
  SKVIS_CHECK(runtime.charge_value(key));
  return Value(lower(*text));
}

std::span<const Builtin> sequence_filters() {
  static const std::vector<Builtin> kTable = {
      {"batch", {"linecount", "fill_with"}, filter_batch},
      {"count", {}, filter_length},
      {"dictsort", {"case_sensitive", "by", "reverse"}, filter_dictsort},
      {"first", {}, filter_first},
      {"items", {}, filter_items},
      {"join", {"d", "attribute"}, filter_join},
      {"last", {}, filter_last},
      {"length", {}, filter_length},
      {"list", {}, filter_list},
      {"max", {"case_sensitive", "attribute"}, [](const Call& call) { return extreme(call, 1); }},
      {"min", {"case_sensitive", "attribute"}, [](const Call& call) { return extreme(call, -1); }},
      {"reverse", {}, filter_reverse},
      {"sort", {"reverse", "case_sensitive", "attribute"}, filter_sort},
      {"sum", {"attribute", "start"}, filter_sum},
      {"unique", {"case_sensitive", "attribute"}, filter_unique},
  };
  return kTable;
}

}  // namespace skvis::jinja
