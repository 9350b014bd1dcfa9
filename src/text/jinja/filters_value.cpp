// SPDX-License-Identifier: Apache-2.0
// Filters on numbers and on values of any type.
#include <cmath>

#include "text/jinja/filters.hpp"
#include "text/jinja/literals.hpp"

namespace skvis::jinja {
namespace {

Result<Value> filter_abs(const Call& call) {
  if (const auto whole = call.input.as_integer()) {
    if (*whole == INT64_MIN) return fail("the result does not fit 64 bits");
    return Value(*whole < 0 ? -*whole : *whole);
  }
  if (const auto* number = call.input.floating()) return Value(std::abs(*number));
  return fail("expected a number, found {}", call.input.type_name());
}

Result<Value> filter_attr(const Call& call) {
  SKVIS_TRY(const std::string name, call.bound.required_text(0));
  if (call.input.dict() != nullptr && find_method(call.input, name) == nullptr) {
    return Value::undefined(fmt::format("a dict has no attribute '{}'", name));
  }
  return get_attribute(call.input, name);
}

Result<Value> filter_default(const Call& call) {
  const bool replaces =
      call.input.is_undefined() || (call.bound.flag(1, false) && !call.input.truthy());
  if (!replaces) return call.input;
  const Value* fallback = call.bound.get(0);
  return fallback == nullptr ? Value(std::string()) : *fallback;
}

Result<Value> truncated(double number, const Value& fallback) {
  if (!(std::abs(number) < 0x1p63)) return fallback;
  return Value(static_cast<int64_t>(number));
}

Result<Value> filter_int(const Call& call) {
  if (call.input.is_undefined()) return fail("{}", call.input.undefined_reason());
  const Value fallback = call.bound.get(0) == nullptr ? Value(int64_t{0}) : *call.bound.get(0);
  SKVIS_TRY(const int64_t base, call.bound.integer(1, 10));
  if (base != 2 && base != 8 && base != 10 && base != 16) {
    return fail("the base must be 2, 8, 10 or 16, found {}", base);
  }
  if (const auto whole = call.input.as_integer()) return Value(*whole);
  if (const auto* number = call.input.floating()) return truncated(*number, fallback);
  const auto* text = call.input.string();
  if (text == nullptr) return fallback;
  SKVIS_CHECK(call.runtime.charge(text->size()));
  int64_t whole = 0;
  double number = 0;
  if (parse_integer(*text, static_cast<int>(base), whole)) return Value(whole);
  if (parse_float(*text, number)) return truncated(number, fallback);
  return fallback;
}

Result<Value> filter_float(const Call& call) {
  if (call.input.is_undefined()) return fail("{}", call.input.undefined_reason());
  if (const auto number = call.input.as_number()) return Value(*number);
  double number = 0;
  const auto* text = call.input.string();
  if (text != nullptr) SKVIS_CHECK(call.runtime.charge(text->size()));
  if (text != nullptr && parse_float(*text, number)) return Value(number);
  return call.bound.get(0) == nullptr ? Value(0.0) : *call.bound.get(0);
}

Result<Value> filter_round(const Call& call) {
  const auto number = call.input.as_number();
  if (!number) return fail("expected a number, found {}", call.input.type_name());
  SKVIS_TRY(const int64_t precision, call.bound.integer(0, 0));
  SKVIS_TRY(const std::string method, call.bound.text(1, "common"));
  if (precision < -300 || precision > 300) return fail("the precision {} is too large", precision);
  if (method == "common") {
    if (call.input.as_integer() && precision >= 0) return Value(*call.input.as_integer());
    if (precision < 0) {
      const double scale = std::pow(10.0, static_cast<double>(-precision));
      const double rounded = std::nearbyint(*number / scale) * scale;
      return call.input.as_integer() ? truncated(rounded, call.input) : Value(rounded);
    }
    // Decimal digits round correctly, which scaling by a power of ten does not.
    double rounded = *number;
    parse_float(fmt::format("{:.{}f}", *number, precision), rounded);
    return Value(rounded);
  }
  if (method != "ceil" && method != "floor") {
    return fail("the method must be 'common', 'ceil' or 'floor', found '{}'", method);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = *number * scale;
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Result<Value> filter_string(const Call& call) {
  SKVIS_CHECK(call.runtime.charge_value(call.input));
  return Value(to_text(call.input));
}

Result<void> read_separators(const Value& separators, JsonStyle& style) {
  const auto* pair = separators.list();
  if (pair == nullptr || pair->items.size() != 2 || pair->items[0].string() == nullptr ||
      pair->items[1].string() == nullptr) {
    return fail("parameter 'separators' must be two strings");
  }
  style.item_separator = *pair->items[0].string();
  style.key_separator = *pair->items[1].string();
  return {};
}

// As chat templates know it: no HTML escapes, text outside ASCII as it is, keys in their order.
Result<Value> filter_tojson(const Call& call) {
  JsonStyle style;
  style.ascii = call.bound.flag(0, false);
  SKVIS_TRY(const int64_t indent, call.bound.integer(1, -1));
  if (indent > 100) return fail("the indent {} is above 100", indent);
  const Value* given = call.bound.get(1);
  if (given != nullptr && !given->is_none()) {
    style.indent = static_cast<int>(std::max<int64_t>(indent, 0));
    style.item_separator.assign(1, ',');
  }
  if (const Value* separators = call.bound.get(2);
      separators != nullptr && !separators->is_none()) {
    SKVIS_CHECK(read_separators(*separators, style));
  }
  style.sort_keys = call.bound.flag(3, false);
  SKVIS_TRY(std::string text, to_json_text(call.runtime, call.input, style));
  return Value(std::move(text));
}

}  // namespace

std::span<const Builtin> value_filters() {
  static const std::vector<Builtin> kTable = {
      {"abs", {}, filter_abs},
      {"attr", {"name"}, filter_attr},
      {"d", {"default_value", "boolean"}, filter_default},
      {"default", {"default_value", "boolean"}, filter_default},
      {"float", {"default"}, filter_float},
      {"int", {"default", "base"}, filter_int},
      {"round", {"precision", "method"}, filter_round},
      {"safe", {}, filter_string},
      {"string", {}, filter_string},
      {"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, filter_tojson},
  };
  return kTable;
}

}  // namespace skvis::jinja
