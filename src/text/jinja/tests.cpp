// SPDX-License-Identifier: Apache-2.0
// The tests behind `is`.
#include <algorithm>

#include "text/jinja/runtime.hpp"
#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

Result<Value> compared(const Call& call, bool (*holds)(int)) {
  SKVIS_TRY(const Value other, call.bound.required(0));
  SKVIS_CHECK(call.runtime.charge_value(call.input));
  SKVIS_TRY(const int sign, compare(call.input, other));
  return Value(holds(sign));
}

Result<Value> equals(const Call& call, bool wanted) {
  SKVIS_TRY(const Value other, call.bound.required(0));
  SKVIS_CHECK(call.runtime.charge(std::min(extent_of(call.input).weight, extent_of(other).weight)));
  return Value(equal(call.input, other) == wanted);
}

Result<Value> remainder_is(const Call& call, const Value& divisor, int64_t wanted) {
  SKVIS_TRY(const Value rest, arithmetic(call.runtime, "%", call.input, divisor));
  return Value(equal(rest, Value(wanted)));
}

Result<Value> has_case(const Call& call, std::string (*change)(std::string_view)) {
  SKVIS_CHECK(call.runtime.charge_value(call.input));
  const std::string text = to_text(call.input);
  bool cased = false;
  for (size_t position = 0; position < text.size() && !cased;)
    cased = is_cased(decode(text, position));
  return Value(cased && change(text) == text);
}

bool is_sequence(const Value& value) {
  return value.is_undefined() || value.string() != nullptr || value.list() != nullptr ||
         value.dict() != nullptr;
}

template <bool (*kHolds)(const Value&)>
Result<Value> type_test(const Call& call) {
  return Value(kHolds(call.input));
}

bool is_true(const Value& v) {
  return v.boolean() != nullptr && *v.boolean();
}
bool is_false(const Value& v) {
  return v.boolean() != nullptr && !*v.boolean();
}
bool is_boolean(const Value& v) {
  return v.boolean() != nullptr;
}
bool is_integer(const Value& v) {
  return v.integer() != nullptr;
}
bool is_float(const Value& v) {
  return v.floating() != nullptr;
}
bool is_number(const Value& v) {
  return v.as_number().has_value();
}
bool is_string(const Value& v) {
  return v.string() != nullptr;
}
bool is_mapping(const Value& v) {
  return v.dict() != nullptr;
}
bool is_iterable(const Value& v) {
  return is_sequence(v) || v.loop() != nullptr;
}
bool is_defined(const Value& v) {
  return !v.is_undefined();
}
bool is_undefined(const Value& v) {
  return v.is_undefined();
}
bool is_none(const Value& v) {
  return v.is_none();
}
// As in Python, where the class of undefined values answers calls with an error.
bool is_callable(const Value& v) {
  return v.callable() != nullptr || v.is_undefined();
}

// Long because it is the table of all tests.
std::span<const Builtin> tests() {
  static const auto eq = [](const Call& call) { return equals(call, true); };
  static const auto ne = [](const Call& call) { return equals(call, false); };
  static const auto lt = [](const Call& call) {
    return compared(call, [](int sign) { return sign < 0; });
  };
  static const auto le = [](const Call& call) {
    return compared(call, [](int sign) { return sign <= 0; });
  };
  static const auto gt = [](const Call& call) {
    return compared(call, [](int sign) { return sign > 0; });
  };
  static const auto ge = [](const Call& call) {
    return compared(call, [](int sign) { return sign >= 0; });
  };
  static const std::vector<Builtin> kTable = {
      {"boolean", {}, type_test<is_boolean>},
      {"callable", {}, type_test<is_callable>},
      {"defined", {}, type_test<is_defined>},
      {"undefined", {}, type_test<is_undefined>},
      {"none", {}, type_test<is_none>},
      {"true", {}, type_test<is_true>},
      {"false", {}, type_test<is_false>},
      {"integer", {}, type_test<is_integer>},
      {"float", {}, type_test<is_float>},
      {"number", {}, type_test<is_number>},
      {"string", {}, type_test<is_string>},
      {"mapping", {}, type_test<is_mapping>},
      {"iterable", {}, type_test<is_iterable>},
      {"sequence", {}, type_test<is_sequence>},
      {"eq", {"other"}, eq},
      {"equalto", {"other"}, eq},
      {"==", {"other"}, eq},
      {"ne", {"other"}, ne},
      {"!=", {"other"}, ne},
      {"lt", {"other"}, lt},
      {"lessthan", {"other"}, lt},
      {"<", {"other"}, lt},
      {"le", {"other"}, le},
      {"<=", {"other"}, le},
      {"gt", {"other"}, gt},
      {"greaterthan", {"other"}, gt},
      {">", {"other"}, gt},
      {"ge", {"other"}, ge},
      {">=", {"other"}, ge},
      {"sameas",
       {"other"},
       [](const Call& call) -> Result<Value> {
         SKVIS_TRY(const Value other, call.bound.required(0));
         SKVIS_CHECK(call.runtime.charge_value(other));
         return Value(call.input.type_name() == other.type_name() && equal(call.input, other));
       }},
      {"in",
       {"seq"},
       [](const Call& call) -> Result<Value> {
         SKVIS_TRY(const Value sequence, call.bound.required(0));
         SKVIS_TRY(const bool found, contains(call.runtime, sequence, call.input));
         return Value(found);
       }},
      {"even", {}, [](const Call& call) { return remainder_is(call, Value(int64_t{2}), 0); }},
      {"odd", {}, [](const Call& call) { return remainder_is(call, Value(int64_t{2}), 1); }},
      {"divisibleby",
       {"num"},
       [](const Call& call) -> Result<Value> {
         SKVIS_TRY(const Value divisor, call.bound.required(0));
         return remainder_is(call, divisor, 0);
       }},
      {"lower", {}, [](const Call& call) { return has_case(call, lower); }},
      {"upper", {}, [](const Call& call) { return has_case(call, upper); }},
      {"filter",
       {},
       [](const Call& call) -> Result<Value> {
         return Value(call.input.string() != nullptr && is_filter(*call.input.string()));
       }},
      {"test",
       {},
       [](const Call& call) -> Result<Value> {
         return Value(call.input.string() != nullptr && is_test(*call.input.string()));
       }},
  };
  return kTable;
}

}  // namespace

Result<bool> apply_test(Runtime& runtime, std::string_view name, const Value& input,
                        const Arguments& arguments) {
  const Builtin* test = find_builtin(tests(), name);
  if (test == nullptr) return fail("there is no test '{}'", name.substr(0, 60));
  SKVIS_TRY(const Value result, invoke(*test, "test", runtime, input, arguments));
  return result.truthy();
}

bool is_test(std::string_view name) {
  return find_builtin(tests(), name) != nullptr;
}

}  // namespace skvis::jinja
