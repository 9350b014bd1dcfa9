// SPDX-License-Identifier: Apache-2.0
// The functions of the environment.
#include <ctime>

#include "text/jinja/runtime.hpp"

namespace skvis::jinja {
namespace {

Result<Value> range(const Call& call) {
  std::vector<int64_t> bounds;
  for (const Value& value : call.arguments.positional) {
    const auto number = value.as_integer();
    if (!number) return fail("needs integers, found {}", value.type_name());
    bounds.push_back(*number);
  }
  if (bounds.empty() || bounds.size() > 3 || !call.arguments.named.empty()) {
    return fail("takes one to three integers");
  }
  const int64_t start = bounds.size() == 1 ? 0 : bounds[0];
  const int64_t stop = bounds.size() == 1 ? bounds[0] : bounds[1];
  const int64_t step = bounds.size() == 3 ? bounds[2] : 1;
  if (step == 0) return fail("the step cannot be zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) >= call.runtime.limits().max_range) {
      return fail("makes more than {} items", call.runtime.limits().max_range);
    }
    SKVIS_CHECK(call.runtime.charge(1));
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return make_list(std::move(items));
}

// dict(mapping, name=value, ...) and namespace(...) read their arguments alike.
Result<Value> members_of(const Call& call) {
  DictBuilder members;
  for (const Value& value : call.arguments.positional) {
    const auto* dict = value.dict();
    if (dict == nullptr) return fail("expected a dict, found {}", value.type_name());
    SKVIS_CHECK(call.runtime.charge(4 * dict->entries.size()));
    for (const auto& [key, member] : dict->entries) SKVIS_CHECK(members.set(key, member));
  }
  for (const auto& [name, value] : call.arguments.named) {
    SKVIS_CHECK(members.set(Value(name), value));
  }
  return members.finish();
}

Result<Value> make_namespace(const Call& call) {
  SKVIS_CHECK(call.runtime.charge(16));
  SKVIS_TRY(const Value members, members_of(call));
  Namespace* space = call.runtime.make_namespace();
  for (const auto& [key, value] : members.dict()->entries) {
    space->members.insert_or_assign(to_text(key), value);
  }
  return Value(space);
}

Result<Value> raise_exception(const Call& call) {
  SKVIS_TRY(const Value message, call.bound.required(0));
  SKVIS_CHECK(call.runtime.charge_value(message));
  return Error{to_text(message)};
}

Result<Value> strftime_now(const Call& call) {
  SKVIS_TRY(std::string format, call.bound.required_text(0));
  if (format.size() > 200) return fail("the format has more than 200 bytes");
  SKVIS_CHECK(call.runtime.charge(500));
  format += '|';  // tells an empty result from one that did not fit
  const std::time_t now = call.runtime.now();
  std::tm local{};
  if (localtime_r(&now, &local) == nullptr) return fail("the time is not known");
  char text[2048];
  const size_t size = std::strftime(text, sizeof text, format.c_str(), &local);
  if (size == 0) return fail("the result does not fit {} bytes", sizeof text);
  return Value(std::string_view(text, size - 1));
}

}  // namespace

std::span<const Builtin> functions() {
  static const std::vector<Builtin> kTable = {
      {"dict", {"*"}, members_of},
      {"namespace", {"*"}, make_namespace},
      {"raise_exception", {"message"}, raise_exception},
      {"range", {"*"}, range},
      {"strftime_now", {"format"}, strftime_now},
  };
  return kTable;
}

}  // namespace skvis::jinja
