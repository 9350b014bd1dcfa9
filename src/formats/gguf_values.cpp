// SPDX-License-Identifier: Apache-2.0
// Typed access to metadata and tensors of a parsed GGUF file.
#include <cmath>
#include <cstring>
#include <utility>

#include "formats/gguf.hpp"
#include "formats/gguf_types.hpp"

namespace skvis {
namespace {

// A number of any width; whole ones as int64_t where they fit.
struct Number {
  double real = 0;
  int64_t whole = 0;
  bool is_whole = false;
};

template <typename T>
Number load_number(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  Number number;
  number.real = static_cast<double>(value);
  if constexpr (std::is_integral_v<T>) {
    number.is_whole = std::in_range<int64_t>(value);
    if (number.is_whole) number.whole = static_cast<int64_t>(value);
  }
  return number;
}

// Nothing for types that are no numbers.
std::optional<Number> number_at(GgufType type, const std::byte* from) {
  switch (type) {
    case GgufType::kUint8:
      return load_number<uint8_t>(from);
    case GgufType::kInt8:
      return load_number<int8_t>(from);
    case GgufType::kUint16:
      return load_number<uint16_t>(from);
    case GgufType::kInt16:
      return load_number<int16_t>(from);
    case GgufType::kUint32:
      return load_number<uint32_t>(from);
    case GgufType::kInt32:
      return load_number<int32_t>(from);
    case GgufType::kUint64:
      return load_number<uint64_t>(from);
    case GgufType::kInt64:
      return load_number<int64_t>(from);
    case GgufType::kFloat32:
      return load_number<float>(from);
    case GgufType::kFloat64:
      return load_number<double>(from);
    default:
      return std::nullopt;
  }
}

std::string described(const GgufValue& value) {
  if (value.type != GgufType::kArray) return gguf_type_name(value.type);
  return fmt::format("array of {} {}", value.count, gguf_type_name(value.element_type));
}

Error mistyped(const std::string& origin, std::string_view key, std::string_view expected,
               const GgufValue& value) {
  return fail("{}: metadata '{}' must be {}, found {}", origin, key, expected, described(value));
}

}  // namespace

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto it = metadata_.find(key);
  return it == metadata_.end() ? nullptr : &it->second;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

Result<const GgufValue*> GgufFile::require(std::string_view key, std::string_view expected) const {
  const GgufValue* value = find(key);
  if (value == nullptr) {
    return fail("{}: metadata '{}' is missing, expected {}", origin_, key, expected);
  }
  return value;
}

Result<std::string_view> GgufFile::string(std::string_view key) const {
  SKVIS_TRY(const GgufValue* value, require(key, "a string"));
  if (value->type != GgufType::kString) return mistyped(origin_, key, "a string", *value);
  return std::string_view(reinterpret_cast<const char*>(value->data.data()), value->data.size());
}

Result<int64_t> GgufFile::integer(std::string_view key, int64_t min, int64_t max) const {
  SKVIS_TRY(const GgufValue* value, require(key, "a whole number"));
  const std::optional<Number> number = number_at(value->type, value->data.data());
  if (!number || value->type == GgufType::kFloat32 || value->type == GgufType::kFloat64) {
    return mistyped(origin_, key, "a whole number", *value);
  }
  if (!number->is_whole || number->whole < min || number->whole > max) {
    return fail("{}: metadata '{}' must be between {} and {}, found {}", origin_, key, min, max,
                number->real);
  }
  return number->whole;
}

Result<double> GgufFile::number(std::string_view key) const {
  SKVIS_TRY(const GgufValue* value, require(key, "a number"));
  const std::optional<Number> number = number_at(value->type, value->data.data());
  if (!number) return mistyped(origin_, key, "a number", *value);
  if (!std::isfinite(number->real)) {
    return fail("{}: metadata '{}' must be finite, found {}", origin_, key, number->real);
  }
  return number->real;
}

Result<bool> GgufFile::boolean(std::string_view key) const {
  SKVIS_TRY(const GgufValue* value, require(key, "true or false"));
  if (value->type != GgufType::kBool) return mistyped(origin_, key, "true or false", *value);
  return value->data[0] != std::byte{0};
}

Result<std::vector<std::string_view>> GgufFile::strings(std::string_view key) const {
  SKVIS_TRY(const GgufValue* value, require(key, "an array of strings"));
  if (value->type != GgufType::kArray || value->element_type != GgufType::kString) {
    return mistyped(origin_, key, "an array of strings", *value);
  }
  // Lengths were checked when the file was parsed.
  std::vector<std::string_view> texts;
  texts.reserve(value->count);
  const std::byte* next = value->data.data();
  for (uint64_t i = 0; i < value->count; ++i) {
    uint64_t length = 0;
    std::memcpy(&length, next, sizeof(length));
    texts.emplace_back(reinterpret_cast<const char*>(next) + sizeof(length), length);
    next += sizeof(length) + length;
  }
  return texts;
}

Result<std::vector<int64_t>> GgufFile::integers(std::string_view key) const {
  constexpr std::string_view kExpected = "an array of whole numbers";
  SKVIS_TRY(const GgufValue* value, require(key, kExpected));
  const size_t each = gguf_value_bytes(value->element_type);
  std::vector<int64_t> numbers;
  if (value->type != GgufType::kArray) return mistyped(origin_, key, kExpected, *value);
  if (value->element_type == GgufType::kFloat32 || value->element_type == GgufType::kFloat64) {
    return mistyped(origin_, key, kExpected, *value);
  }
  numbers.reserve(each == 0 ? 0 : value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number = number_at(value->element_type, value->data.data() + i * each);
    if (!number || !number->is_whole) return mistyped(origin_, key, kExpected, *value);
    numbers.push_back(number->whole);
  }
  return numbers;
}

Result<std::vector<double>> GgufFile::numbers(std::string_view key) const {
  constexpr std::string_view kExpected = "an array of numbers";
  SKVIS_TRY(const GgufValue* value, require(key, kExpected));
  const size_t each = gguf_value_bytes(value->element_type);
  std::vector<double> numbers;
  if (value->type != GgufType::kArray) return mistyped(origin_, key, kExpected, *value);
  numbers.reserve(each == 0 ? 0 : value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number = number_at(value->element_type, value->data.data() + i * each);
    if (!number) return mistyped(origin_, key, kExpected, *value);
    numbers.push_back(number->real);
  }
  return numbers;
}

Result<std::vector<bool>> GgufFile::booleans(std::string_view key) const {
  SKVIS_TRY(const GgufValue* value, require(key, "an array of true or false"));
  if (value->type != GgufType::kArray || value->element_type != GgufType::kBool) {
    return mistyped(origin_, key, "an array of true or false", *value);
  }
  std::vector<bool> flags;
  flags.reserve(value->count);
  for (const std::byte flag : value->data) flags.push_back(flag != std::byte{0});
  return flags;
}

Result<std::string_view> GgufFile::string_or(std::string_view key,
                                             std::string_view fallback) const {
  if (!has(key)) return fallback;
  return string(key);
}

Result<int64_t> GgufFile::integer_or(std::string_view key, int64_t min, int64_t max,
                                     int64_t fallback) const {
  if (!has(key)) return fallback;
  return integer(key, min, max);
}

Result<double> GgufFile::number_or(std::string_view key, double fallback) const {
  if (!has(key)) return fallback;
  return number(key);
}

Result<bool> GgufFile::boolean_or(std::string_view key, bool fallback) const {
  if (!has(key)) return fallback;
  return boolean(key);
}

Result<TensorView> GgufFile::tensor(const GgufTensor& tensor) const {
  const std::optional<DType> dtype = readable_ggml_type(tensor.type);
  if (!dtype) {
    return fail("{}: tensor {} is stored as {}, expected F32, F16, BF16, Q8_0, Q4_0 or Q4_1",
                origin_, tensor.name, ggml_type_name(tensor.type));
  }
  return TensorView{.name = std::string(tensor.name),
                    .dtype = *dtype,
                    .shape = tensor.shape,
                    .data = tensor.data};
}

}  // namespace skvis
