// SPDX-License-Identifier: Apache-2.0
// The values a template computes with. Strings, lists and dicts never change once made (the sandbox
// that chat templates are written for forbids it), so they are shared freely and can form no cycle;
// the one changeable thing, a namespace, is owned by the runtime of one rendering.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace skvis::jinja {

struct List;
struct Dict;
struct Namespace;
struct LoopState;
struct Callable;

// What a missing name or member evaluates to; `reason` says what was missing.
struct Undefined {
  std::shared_ptr<const std::string> reason;
};
struct None {};

class Value {
 public:
  Value() = default;  // undefined
  Value(None none) : data_(none) {}
  Value(std::same_as<bool> auto flag) : data_(flag) {}
  Value(std::same_as<int64_t> auto number) : data_(number) {}
  Value(double number) : data_(number) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(std::shared_ptr<const List> list) : data_(std::move(list)) {}
  Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
  Value(std::shared_ptr<const LoopState> loop) : data_(std::move(loop)) {}
  Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}
  Value(Namespace* owned_by_runtime) : data_(owned_by_runtime) {}

  static Value undefined(std::string reason);
  // Depth is bounded as in make_list. Numbers above the int64 range become floats.
  static Result<Value> from_json(const Json& json, int depth = 0);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&data_); }
  const double* floating() const { return std::get_if<double>(&data_); }
  const std::string* string() const { return pointee<std::string>(); }
  const List* list() const { return pointee<List>(); }
  const Dict* dict() const { return pointee<Dict>(); }
  const LoopState* loop() const { return pointee<LoopState>(); }
  const Callable* callable() const { return pointee<Callable>(); }
  Namespace* name_space() const {
    const auto* held = std::get_if<Namespace*>(&data_);
    return held == nullptr ? nullptr : *held;
  }
  std::shared_ptr<const List> shared_list() const {
    return std::get<std::shared_ptr<const List>>(data_);
  }

  // true and false count as 1 and 0, as in Python.
  std::optional<int64_t> as_integer() const;
  std::optional<double> as_number() const;

  bool truthy() const;
  // "a string", "an integer", "a list", ...: the words of error messages.
  std::string_view type_name() const;
  const std::string& undefined_reason() const;

 private:
  template <typename T>
  const T* pointee() const {
    const auto* held = std::get_if<std::shared_ptr<const T>>(&data_);
    return held == nullptr ? nullptr : held->get();
  }

  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>,
               std::shared_ptr<const LoopState>, std::shared_ptr<const Callable>, Namespace*>
      data_;
};

// How deep and how large a value is, kept in every container when it is made. `weight` counts
// values and eight-byte pieces of text along every path, so it bounds the work of printing or
// comparing even where parts are shared.
struct Extent {
  int depth = 0;
  uint64_t weight = 1;

  void add(const Value& part);
};
inline constexpr int kMaxValueDepth = 100;
Extent extent_of(const Value& value);

struct List {
  std::vector<Value> items;
  bool tuple = false;
  Extent extent;
};

// A dict keeps the order in which keys came. Keys are None, numbers, strings and tuples of these.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string, size_t> index;  // identity of a key -> place in entries
  Extent extent;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::unordered_map<std::string, Value> members;
};

// What the name `loop` means inside a for loop.
struct LoopState {
  std::shared_ptr<const List> items;
  size_t index = 0;
};

struct MacroDefinition;

// A function of the environment, a method bound to `self`, or a macro with the scope it was made
// in.
struct Callable {
  enum class Kind { kFunction, kMethod, kMacro };
  Kind kind = Kind::kFunction;
  std::string name = {};
  Value self = {};
  const MacroDefinition* macro = nullptr;
  uint64_t scope = 0;
};

// Containers are made here, where a depth above kMaxValueDepth is refused: values are printed,
// compared and destroyed by recursion.
Result<Value> make_list(std::vector<Value> items);
Result<Value> make_tuple(std::vector<Value> items);

class DictBuilder {
 public:
  // Fails for a key that cannot be one (a list, a dict). A key given twice keeps its first place
  // and its last value.
  Result<void> set(const Value& key, Value value);
  // Sets the key to none; false when it was there already.
  Result<bool> add(const Value& key);
  Result<Value> finish();

 private:
  std::shared_ptr<Dict> dict_ = std::make_shared<Dict>();
};

// The caller charges extent_of() for these: their work is proportional to the smaller operand.
bool equal(const Value& a, const Value& b);
// Negative, zero or positive; fails for values without an order.
Result<int> compare(const Value& a, const Value& b);

// Text as Python's str() and repr() write it.
std::string to_text(const Value& value);
std::string to_repr(const Value& value);
std::string float_text(double number);

}  // namespace skvis::jinja
