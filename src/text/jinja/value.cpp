// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/value.hpp"

#include <algorithm>
#include <cmath>

namespace skvis::jinja {
namespace {

constexpr uint64_t kMaxWeight = uint64_t{1} << 40;

Result<Value> make_sequence(std::vector<Value> items, bool tuple) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) list->extent.add(item);
  if (list->extent.depth > kMaxValueDepth) {
    return fail("lists and dicts are nested deeper than {} levels", kMaxValueDepth);
  }
  list->items = std::move(items);
  list->tuple = tuple;
  return Value(std::shared_ptr<const List>(std::move(list)));
}

// Equal keys have equal identities: 1, 1.0 and true are one key, as in Python.
bool append_identity(std::string& out, const Value& key) {
  if (const auto* text = key.string()) {
    out += fmt::format("s{}:{}", text->size(), *text);
  } else if (const auto whole = key.as_integer()) {
    out += fmt::format("n{}", *whole);
  } else if (const auto* number = key.floating()) {
    const bool whole = std::abs(*number) < 0x1p62 && std::trunc(*number) == *number;
    out += whole ? fmt::format("n{}", static_cast<int64_t>(*number)) : fmt::format("f{}", *number);
  } else if (key.is_none()) {
    out += '0';
  } else if (const auto* list = key.list(); list != nullptr && list->tuple) {
    out += fmt::format("t{}:", list->items.size());
    return std::all_of(list->items.begin(), list->items.end(),
                       [&](const Value& item) { return append_identity(out, item); });
  } else {
    return false;
  }
  return true;
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && equal(entry.second, *other);
  });
}

template <typename T>
int three_way(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

}  // namespace

Value Value::undefined(std::string reason) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(reason))};
  return value;
}

Result<Value> Value::from_json(const Json& json, int depth) {
  if (depth > kMaxValueDepth) {
    return fail("JSON values are nested deeper than {} levels", kMaxValueDepth);
  }
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
      return Value(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
        return Value(json.get<double>());
      }
      return Value(json.get<int64_t>());
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return Value(json.get_ref<const std::string&>());
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) {
        SKVIS_TRY(Value value, from_json(item, depth + 1));
        items.push_back(std::move(value));
      }
      return make_list(std::move(items));
    }
    case Json::value_t::object: {
      DictBuilder dict;
      for (const auto& [key, item] : json.items()) {
        SKVIS_TRY(Value value, from_json(item, depth + 1));
        SKVIS_CHECK(dict.set(Value(key), std::move(value)));
      }
      return dict.finish();
    }
    default:
      return Value(None{});
  }
}

std::optional<int64_t> Value::as_integer() const {
  if (const auto* flag = boolean()) return *flag ? 1 : 0;
  if (const auto* number = integer()) return *number;
  return std::nullopt;
}

std::optional<double> Value::as_number() const {
  if (const auto* number = floating()) return *number;
  if (const auto whole = as_integer()) return static_cast<double>(*whole);
  return std::nullopt;
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (const auto number = as_number()) return *number != 0;
  if (const auto* text = string()) return !text->empty();
  if (const auto* items = list()) return !items->items.empty();
  if (const auto* members = dict()) return !members->entries.empty();
  return true;
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "an undefined value";
  if (is_none()) return "none";
  if (boolean() != nullptr) return "a boolean";
  if (integer() != nullptr) return "an integer";
  if (floating() != nullptr) return "a float";
  if (string() != nullptr) return "a string";
  if (const auto* items = list()) return items->tuple ? "a tuple" : "a list";
  if (dict() != nullptr) return "a dict";
  if (loop() != nullptr) return "the loop";
  if (callable() != nullptr) return "a function";
  return "a namespace";
}

const std::string& Value::undefined_reason() const {
  static const std::string kUnknown = "the value is undefined";
  const auto* held = std::get_if<Undefined>(&data_);
  return held == nullptr || held->reason == nullptr ? kUnknown : *held->reason;
}

void Extent::add(const Value& part) {
  const Extent other = extent_of(part);
  depth = std::max(depth, other.depth + 1);
  weight = std::min(kMaxWeight, weight + other.weight);
}

Extent extent_of(const Value& value) {
  if (const auto* text = value.string()) return Extent{0, 1 + text->size() / 8};
  if (const auto* list = value.list()) return list->extent;
  if (const auto* dict = value.dict()) return dict->extent;
  Extent extent;
  if (const auto* loop = value.loop()) extent.depth = loop->items->extent.depth + 1;
  if (const auto* callable = value.callable()) extent.depth = extent_of(callable->self).depth + 1;
  return extent;
}

Result<Value> make_list(std::vector<Value> items) {
  return make_sequence(std::move(items), false);
}
Result<Value> make_tuple(std::vector<Value> items) {
  return make_sequence(std::move(items), true);
}

Result<void> DictBuilder::set(const Value& key, Value value) {
  std::string identity;
  if (!append_identity(identity, key)) return fail("{} cannot be a dict key", key.type_name());
  dict_->extent.add(key);
  dict_->extent.add(value);
  const auto [place, is_new] = dict_->index.try_emplace(identity, dict_->entries.size());
  if (is_new) {
    dict_->entries.emplace_back(key, std::move(value));
  } else {
    dict_->entries[place->second].second = std::move(value);
  }
  return {};
}

Result<bool> DictBuilder::add(const Value& key) {
  const size_t before = dict_->entries.size();
  SKVIS_CHECK(set(key, Value(None{})));
  return dict_->entries.size() > before;
}

Result<Value> DictBuilder::finish() {
  if (dict_->extent.depth > kMaxValueDepth) {
    return fail("lists and dicts are nested deeper than {} levels", kMaxValueDepth);
  }
  return Value(std::shared_ptr<const Dict>(std::move(dict_)));
}

const Value* Dict::find(const Value& key) const {
  std::string identity;
  if (!append_identity(identity, key)) return nullptr;
  const auto place = index.find(identity);
  return place == index.end() ? nullptr : &entries[place->second].second;
}

const Value* Dict::find(std::string_view key) const {
  return find(Value(key));
}

bool equal(const Value& a, const Value& b) {
  if (a.as_integer() && b.as_integer()) return *a.as_integer() == *b.as_integer();
  if (a.as_number() && b.as_number()) return *a.as_number() == *b.as_number();
  if (a.string() != nullptr && b.string() != nullptr) return *a.string() == *b.string();
  if (a.list() != nullptr && b.list() != nullptr) {
    const List& x = *a.list();
    const List& y = *b.list();
    return x.tuple == y.tuple &&
           std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), equal);
  }
  if (a.dict() != nullptr && b.dict() != nullptr) return equal_dicts(*a.dict(), *b.dict());
  if (a.is_none() || a.is_undefined()) {
    return a.is_none() == b.is_none() && a.is_undefined() == b.is_undefined();
  }
  if (a.name_space() != nullptr) return a.name_space() == b.name_space();
  if (a.callable() != nullptr) return a.callable() == b.callable();
  return a.loop() != nullptr && a.loop() == b.loop();
}

Result<int> compare(const Value& a, const Value& b) {
  if (a.as_integer() && b.as_integer()) return three_way(*a.as_integer(), *b.as_integer());
  if (a.as_number() && b.as_number()) return three_way(*a.as_number(), *b.as_number());
  if (a.string() != nullptr && b.string() != nullptr) {
    // UTF-8 sorts by bytes as it does by code points.
    return three_way(a.string()->compare(*b.string()), 0);
  }
  if (a.list() != nullptr && b.list() != nullptr && a.list()->tuple == b.list()->tuple) {
    const auto& x = a.list()->items;
    const auto& y = b.list()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (equal(x[i], y[i])) continue;
      return compare(x[i], y[i]);
    }
    return three_way(x.size(), y.size());
  }
  return fail("{} and {} have no order", a.type_name(), b.type_name());
}

}  // namespace skvis::jinja
