// SPDX-License-Identifier: Apache-2.0
// Reads the fields of a request and keeps the first error, so that a list of fields reads like one.
// Absent and null fields leave the variable as it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.hpp"

namespace skvis {

// An object, or the error to answer.
ApiResult<Json> parse_body(std::string_view body);

class FieldReader {
 public:
  // `object` outlives the reader. `prefix` begins the names of fields in errors: "messages[0].".
  explicit FieldReader(const Json& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}

  // The field, or nullptr where it is absent or null.
  const Json* find(std::string_view key) const;
  void boolean(std::string_view key, bool& out);
  void text(std::string_view key, std::string& out);
  void integer(std::string_view key, int64_t min, int64_t max, std::optional<int64_t>& out);
  void number(std::string_view key, double min, double max, std::optional<double>& out);
  // A string or a list of strings; empty ones are left out.
  void texts(std::string_view key, size_t max_count, size_t max_length,
             std::vector<std::string>& out);
  // Whole numbers of 32 bits.
  void ids(std::string_view key, std::vector<uint32_t>& out);

  // `expected` as in "an array"; the message names what was found.
  void wrong_type(std::string_view key, std::string_view expected);
  void refuse(std::string_view key, std::string message, std::string code = {});
  std::string name(std::string_view key) const { return prefix_ + std::string(key); }

  const std::optional<ApiError>& error() const { return error_; }

 private:
  template <typename T>
  bool take(std::string_view key, const Result<T>& result);

  const Json& object_;
  std::string prefix_;
  std::optional<ApiError> error_;
};

// An array of whole numbers of 32 bits, or what is wrong with it. `name` is the field's.
ApiResult<std::vector<uint32_t>> read_ids(const Json& array, std::string_view name);

}  // namespace skvis
