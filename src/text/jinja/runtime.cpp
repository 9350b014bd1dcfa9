// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/runtime.hpp"

#include <algorithm>

namespace skvis::jinja {

Result<void> Runtime::charge(size_t steps) {
  if (steps > steps_left_) {
    steps_left_ = 0;
    return fail("the template needs more than {} steps", limits_.max_steps);
  }
  steps_left_ -= steps;
  return {};
}

Namespace* Runtime::make_namespace() {
  return &namespaces_.emplace_back();
}

Result<Bound> Bound::bind(const Arguments& arguments,
                          std::span<const std::string_view> parameters) {
  Bound bound;
  bound.parameters_ = parameters;
  bound.values_.assign(parameters.size(), nullptr);
  if (arguments.positional.size() > parameters.size()) {
    return fail("takes at most {} arguments, found {}", parameters.size(),
                arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    bound.values_[i] = &arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.named) {
    const auto place = std::find(parameters.begin(), parameters.end(), name);
    if (place == parameters.end()) return fail("has no parameter '{}'", name);
    auto& slot = bound.values_[static_cast<size_t>(place - parameters.begin())];
    if (slot != nullptr) return fail("parameter '{}' is given twice", name);
    slot = &value;
  }
  return bound;
}

bool Bound::flag(size_t parameter, bool fallback) const {
  const Value* value = get(parameter);
  return value == nullptr ? fallback : value->truthy();
}

Result<int64_t> Bound::integer(size_t parameter, int64_t fallback) const {
  const Value* value = get(parameter);
  if (value == nullptr || value->is_none()) return fallback;
  if (const auto number = value->as_integer()) return *number;
  return fail("parameter '{}' must be an integer, found {}", parameters_[parameter],
              value->type_name());
}

Result<std::string> Bound::text(size_t parameter, std::string_view fallback) const {
  const Value* value = get(parameter);
  if (value == nullptr || value->is_none()) return std::string(fallback);
  return required_text(parameter);
}

Result<std::string> Bound::required_text(size_t parameter) const {
  SKVIS_TRY(const Value value, required(parameter));
  if (const auto* text = value.string()) return *text;
  return fail("parameter '{}' must be a string, found {}", parameters_[parameter],
              value.type_name());
}

Result<Value> Bound::required(size_t parameter) const {
  const Value* value = get(parameter);
  if (value == nullptr) return fail("needs parameter '{}'", parameters_[parameter]);
  return *value;
}

Result<Value> invoke(const Builtin& builtin, std::string_view kind, Runtime& runtime,
                     const Value& input, const Arguments& arguments) {
  const bool takes_any = !builtin.parameters.empty() && builtin.parameters.front() == "*";
  auto bound = takes_any ? Bound() : Bound::bind(arguments, builtin.parameters);
  if (!bound) return fail("{} '{}' {}", kind, builtin.name, bound.error().message);
  auto result = builtin.function(Call{runtime, input, *bound, arguments});
  if (!result && builtin.name != "raise_exception") {
    return fail("{} '{}': {}", kind, builtin.name, result.error().message);
  }
  return result;
}

const Builtin* find_builtin(std::span<const Builtin> table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const Builtin& builtin) { return builtin.name == name; });
  return found == table.end() ? nullptr : &*found;
}

// A merge sort: errors may come up in any comparison, and library sorts need comparisons that hold.
Result<std::vector<size_t>> sorted_order(Runtime& runtime, const std::vector<Value>& keys,
                                         bool reverse) {
  std::vector<size_t> order(keys.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::vector<size_t> merged(order.size());
  for (size_t width = 1; width < order.size(); width *= 2) {
    for (size_t begin = 0; begin < order.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, order.size());
      const size_t end = std::min(middle + width, order.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
          const Value& a = keys[order[left]];
          const Value& b = keys[order[right]];
          SKVIS_CHECK(runtime.charge(std::min(extent_of(a).weight, extent_of(b).weight)));
          SKVIS_TRY(const int sign, compare(a, b));
          take_right = reverse ? sign < 0 : sign > 0;
        }
        merged[out] = order[take_right ? right++ : left++];
      }
    }
    order.swap(merged);
  }
  return order;
}

}  // namespace skvis::jinja
