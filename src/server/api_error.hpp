// SPDX-License-Identifier: Apache-2.0
// Errors as clients of OpenAI's API read them: {"error": {message, type, param, code}}.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "server/http_message.hpp"

namespace skvis {

struct ApiError {
  unsigned status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;         // the field; empty: null in the answer
  std::string code;          // empty: null in the answer
  unsigned retry_after = 0;  // seconds; 0: not said
};

ApiError bad_request(std::string message, std::string param = {}, std::string code = {});
ApiError server_error(std::string message);
ApiError overloaded(unsigned status, std::string message);

Json error_json(const ApiError& error);
HttpResponse error_response(const ApiError& error);

// As Result<T>, and SKVIS_TRY works on it in functions that return one too.
template <typename T>
class [[nodiscard]] ApiResult {
 public:
  ApiResult(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  ApiResult(ApiError error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const ApiError& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, ApiError> state_;
};

}  // namespace skvis
