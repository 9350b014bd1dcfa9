// SPDX-License-Identifier: Apache-2.0
// What one rendering may use, and the functions that templates find in their environment.
#pragma once

#include <ctime>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.hpp"

namespace skvis::jinja {

// A step is one node evaluated, one item touched or eight bytes of text produced, so steps bound
// both time and memory.
struct Limits {
  size_t max_steps = 5'000'000;
  size_t max_output = size_t{32} << 20;  // bytes
  int max_depth = 400;                   // of nested expressions, statements and macro calls
  int64_t max_range = 100'000;           // items of one range()
};

class Runtime {
 public:
  Runtime(const Limits& limits, std::time_t now)
      : limits_(limits), steps_left_(limits.max_steps), now_(now) {}

  const Limits& limits() const { return limits_; }
  std::time_t now() const { return now_; }

  Result<void> charge(size_t steps);
  Result<void> charge_text(size_t bytes) { return charge(1 + bytes / 8); }
  Result<void> charge_value(const Value& value) { return charge(extent_of(value).weight); }

  // Lives as long as the runtime: a namespace may come to hold itself.
  Namespace* make_namespace();

 private:
  Limits limits_;
  size_t steps_left_;
  std::time_t now_;
  std::deque<Namespace> namespaces_;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Arguments in the order of the parameters; a parameter not given is null.
class Bound {
 public:
  // Fails for too many arguments and for unknown or doubled names.
  static Result<Bound> bind(const Arguments& arguments,
                            std::span<const std::string_view> parameters);

  const Value* get(size_t parameter) const { return values_[parameter]; }
  bool flag(size_t parameter, bool fallback) const;
  // The typed readers fail when the argument is of another type; none and absent give the fallback.
  Result<int64_t> integer(size_t parameter, int64_t fallback) const;
  Result<std::string> text(size_t parameter, std::string_view fallback) const;
  // As text(), but the argument must be there.
  Result<std::string> required_text(size_t parameter) const;
  Result<Value> required(size_t parameter) const;

 private:
  std::span<const std::string_view> parameters_;
  std::vector<const Value*> values_;
};

// What a filter, test, method or function gets. `arguments` is for those that take any number.
struct Call {
  Runtime& runtime;
  const Value& input;
  const Bound& bound;
  const Arguments& arguments;
};

// A function templates can call by name. Parameters {"*"} stand for any.
struct Builtin {
  std::string_view name;
  std::vector<std::string_view> parameters;
  Result<Value> (*function)(const Call& call);
};

// Binds the arguments and calls. The error says `kind` and the name.
Result<Value> invoke(const Builtin& builtin, std::string_view kind, Runtime& runtime,
                     const Value& input, const Arguments& arguments);
const Builtin* find_builtin(std::span<const Builtin> table, std::string_view name);

// Filters and tests. An unknown name is an error.
Result<Value> apply_filter(Runtime& runtime, std::string_view name, const Value& input,
                           const Arguments& arguments);
Result<bool> apply_test(Runtime& runtime, std::string_view name, const Value& input,
                        const Arguments& arguments);
bool is_filter(std::string_view name);
bool is_test(std::string_view name);

// range, dict, namespace, strftime_now; raise_exception fails with its own text.
std::span<const Builtin> functions();

// A method of a string, a list or a dict; null when the type has none of that name.
const Builtin* find_method(const Value& self, std::string_view name);
std::span<const Builtin> string_methods();
// Whether Python has a method of this name that changes `self` (append, update, ...). The sandbox
// chat templates are written for hides these: values never change.
bool is_changing_method(const Value& self, std::string_view name);

// obj.name and obj[key]; a missing member is an undefined value. Fails only on undefined objects.
Result<Value> get_attribute(const Value& object, std::string_view name);
Result<Value> get_item(Runtime& runtime, const Value& object, const Value& key);
Result<Value> get_slice(Runtime& runtime, const Value& object, const Value& start,
                        const Value& stop, const Value& step);
// A path like "function.name" or "0.id", one member after the other.
Result<Value> get_path(Runtime& runtime, const Value& object, std::string_view path);

// The items a loop or filter runs over: of a list, the keys of a dict, the characters of a string,
// none of an undefined value.
Result<std::shared_ptr<const List>> items_of(Runtime& runtime, const Value& value);
Result<bool> contains(Runtime& runtime, const Value& container, const Value& item);
Result<int64_t> length_of(Runtime& runtime, const Value& value);

Result<Value> arithmetic(Runtime& runtime, std::string_view operation, const Value& a,
                         const Value& b);
// `text % values`: the printf style of %s, %d, %i, %f, %x and %r.
Result<std::string> format_percent(Runtime& runtime, std::string_view format, const Value& values);

struct JsonStyle {
  int indent = -1;  // below zero: on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ascii = false;  // escape everything else
};
// As Python's json.dumps; fails for what JSON cannot say (undefined values, functions).
Result<std::string> to_json_text(Runtime& runtime, const Value& value, const JsonStyle& style);

// Sorts by keys (the same number as items) and keeps the order of equal ones. Fails for keys
// without an order.
Result<std::vector<size_t>> sorted_order(Runtime& runtime, const std::vector<Value>& keys,
                                         bool reverse);

}  // namespace skvis::jinja
