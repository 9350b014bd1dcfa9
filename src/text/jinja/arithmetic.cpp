// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "text/jinja/runtime.hpp"
#include "text/jinja/unicode.hpp"

namespace skvis::jinja {
namespace {

Error mismatch(std::string_view operation, const Value& a, const Value& b) {
  if (a.is_undefined()) return fail("{}", a.undefined_reason());
  if (b.is_undefined()) return fail("{}", b.undefined_reason());
  return fail("'{}' cannot take {} and {}", operation, a.type_name(), b.type_name());
}

Error overflow(std::string_view operation) {
  return fail("the result of '{}' does not fit 64 bits", operation);
}

Result<Value> joined_lists(Runtime& runtime, const List& a, const List& b) {
  SKVIS_CHECK(runtime.charge(a.items.size() + b.items.size()));
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return a.tuple ? make_tuple(std::move(items)) : make_list(std::move(items));
}

Result<Value> repeated(Runtime& runtime, const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  const auto* text = value.string();
  const size_t size = text != nullptr ? text->size() : value.list()->items.size();
  if (size > 0 && count > runtime.limits().max_output / size) {
    return fail("repeating {} {} times makes it too large", value.type_name(), times);
  }
  SKVIS_CHECK(runtime.charge(1 + (text != nullptr ? size * count / 8 : size * count)));
  if (text != nullptr) {
    std::string result;
    result.reserve(size * count);
    for (size_t i = 0; i < count && size > 0; ++i) result += *text;
    return Value(std::move(result));
  }
  std::vector<Value> items;
  for (size_t i = 0; i < count && size > 0; ++i) {
    items.insert(items.end(), value.list()->items.begin(), value.list()->items.end());
  }
  return value.list()->tuple ? make_tuple(std::move(items)) : make_list(std::move(items));
}

int64_t floor_divided(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

Result<Value> integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if (exponent % 2 == 1 && __builtin_mul_overflow(result, base, &result)) return overflow("**");
    exponent /= 2;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return overflow("**");
  }
  return Value(result);
}

Result<Value> integer_arithmetic(std::string_view operation, int64_t a, int64_t b) {
  int64_t result = 0;
  if (operation == "+") {
    if (__builtin_add_overflow(a, b, &result)) return overflow(operation);
    return Value(result);
  }
  if (operation == "-") {
    if (__builtin_sub_overflow(a, b, &result)) return overflow(operation);
    return Value(result);
  }
  if (operation == "*") {
    if (__builtin_mul_overflow(a, b, &result)) return overflow(operation);
    return Value(result);
  }
  if (operation == "**" && b >= 0) return integer_power(a, b);
  if (operation == "**") return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
  if (b == 0) return fail("'{}' divides by zero", operation);
  if (operation == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) {  // the lowest integer has no positive twin
    if (operation == "%") return Value(int64_t{0});
    if (__builtin_sub_overflow(int64_t{0}, a, &result)) return overflow(operation);
    return Value(result);
  }
  const int64_t quotient = floor_divided(a, b);
  return Value(operation == "//" ? quotient : a - quotient * b);
}

Result<Value> float_arithmetic(std::string_view operation, double a, double b) {
  if (operation == "+") return Value(a + b);
  if (operation == "-") return Value(a - b);
  if (operation == "*") return Value(a * b);
  if (operation == "**") return Value(std::pow(a, b));
  if (b == 0) return fail("'{}' divides by zero", operation);
  if (operation == "/") return Value(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return Value(operation == "//" ? std::floor((a - rest) / b + 0.5) : rest);
}

// One conversion of a % format: flags, width and precision are passed on, all bounded.
Result<std::string> convert_one(Runtime& runtime, const std::string& spec, char type,
                                const Value& value) {
  if (type == 's' || type == 'r') {
    SKVIS_CHECK(runtime.charge_value(value));
    return type == 's' ? to_text(value) : to_repr(value);
  }
  const auto number = value.as_number();
  if (!number) return fail("'%{}' needs a number, found {}", type, value.type_name());
  try {
    if (type == 'd' || type == 'i' || type == 'x') {
      if (!value.as_integer() && !(std::abs(*number) < 0x1p62)) {
        return fail("'%{}' needs an integer", type);
      }
      const auto whole = value.as_integer().value_or(static_cast<int64_t>(*number));
      return fmt::format(fmt::runtime("{:" + spec + (type == 'x' ? "x" : "d") + "}"), whole);
    }
    const std::string precision = spec.find('.') == spec.npos ? ".6" : "";
    return fmt::format(fmt::runtime("{:" + spec + precision + "f}"), *number);
  } catch (const fmt::format_error& problem) {
    return fail("the format '%{}{}' is not valid: {}", spec, type, problem.what());
  }
}

}  // namespace

Result<std::string> format_percent(Runtime& runtime, std::string_view format, const Value& values) {
  std::vector<Value> queue = {values};
  if (values.list() != nullptr && values.list()->tuple) queue = values.list()->items;
  SKVIS_CHECK(runtime.charge_text(format.size() * 8 + queue.size() * 8));
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    const size_t end = format.find_first_not_of("0123456789.", i + 1);
    if (end == format.npos || end - i > 5) return fail("a '%' format is not valid");
    const char type = format[end];
    const std::string spec(format.substr(i + 1, end - i - 1));
    i = end;
    if (type == '%') {
      out += '%';
      continue;
    }
    if (std::string_view("sdifxr").find(type) == std::string_view::npos) {
      return fail("the format '%{}' is not supported", type);
    }
    if (used == queue.size()) return fail("'%' has fewer values than formats");
    SKVIS_CHECK(runtime.charge(2000));  // of width or precision
    SKVIS_TRY(const std::string text, convert_one(runtime, spec, type, queue[used++]));
    out += text;
  }
  if (used < queue.size() && values.dict() == nullptr) {
    return fail("'%' has more values than formats");
  }
  return out;
}

Result<Value> arithmetic(Runtime& runtime, std::string_view operation, const Value& a,
                         const Value& b) {
  if (a.as_integer() && b.as_integer()) {
    return integer_arithmetic(operation, *a.as_integer(), *b.as_integer());
  }
  if (a.as_number() && b.as_number()) {
    return float_arithmetic(operation, *a.as_number(), *b.as_number());
  }
  if (operation == "+" && a.string() != nullptr && b.string() != nullptr) {
    SKVIS_CHECK(runtime.charge_text(a.string()->size() + b.string()->size()));
    return Value(*a.string() + *b.string());
  }
  if (operation == "+" && a.list() != nullptr && b.list() != nullptr &&
      a.list()->tuple == b.list()->tuple) {
    return joined_lists(runtime, *a.list(), *b.list());
  }
  if (operation == "*") {
    const auto is_sequence = [](const Value& v) {
      return v.string() != nullptr || v.list() != nullptr;
    };
    if (is_sequence(a) && b.as_integer()) return repeated(runtime, a, *b.as_integer());
    if (is_sequence(b) && a.as_integer()) return repeated(runtime, b, *a.as_integer());
  }
  if (operation == "%" && a.string() != nullptr) {
    SKVIS_TRY(std::string text, format_percent(runtime, *a.string(), b));
    return Value(std::move(text));
  }
  return mismatch(operation, a, b);
}

}  // namespace skvis::jinja
