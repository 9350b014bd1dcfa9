// SPDX-License-Identifier: Apache-2.0
// Errors are values. A function that can fail for a reason a user may cause returns Result<T>; its
// message says what was wrong, where, what was expected and what was found. Exceptions never cross
// from one room into another.
#pragma once

#include <fmt/format.h>

#include <cassert>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace skvis {

struct Error {
  std::string message;
};

// The usual way to make one: return fail("{}: tensor {} has shape {}, expected {}", file, name,
// ...).
template <typename... Args>
[[nodiscard]] Error fail(fmt::format_string<Args...> format, Args&&... args) {
  return Error{fmt::format(format, std::forward<Args>(args)...)};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return assert(ok()), std::get<0>(state_); }
  const T& value() const& { return assert(ok()), std::get<0>(state_); }
  T&& value() && { return assert(ok()), std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const { return assert(!ok()), std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return assert(!ok()), *error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace skvis

// SKVIS_TRY(auto x, f()): x is f()'s value, or the enclosing function returns f()'s error.
#define SKVIS_CONCAT_(a, b) a##b
#define SKVIS_CONCAT(a, b) SKVIS_CONCAT_(a, b)
#define SKVIS_TRY(declaration, expression) \
  SKVIS_TRY_(SKVIS_CONCAT(result_, __LINE__), declaration, expression)
#define SKVIS_TRY_(result, declaration, expression) \
  auto result = (expression);                       \
  if (!result) return result.error();               \
  declaration = std::move(*result)
// SKVIS_CHECK(f()): the enclosing function returns f()'s error, if any.
#define SKVIS_CHECK(expression)                                        \
  do {                                                                 \
    if (auto result_ = (expression); !result_) return result_.error(); \
  } while (0)
