// SPDX-License-Identifier: Apache-2.0
// GGUF, versions 2 and 3, little-endian: a magic, typed metadata, tensor descriptions, and aligned
// tensor data. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.hpp"
#include "base/result.hpp"
#include "formats/tensor.hpp"

namespace skvis {

enum class GgufType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

// A metadata value as it lies in the file. For a string `data` is its text; for an array, the
// elements one after the other.
struct GgufValue {
  GgufType type = GgufType::kUint8;
  GgufType element_type = GgufType::kUint8;  // of an array
  uint64_t count = 1;                        // elements of an array
  std::span<const std::byte> data;
};

struct GgufTensor {
  std::string_view name;
  uint32_t type = 0;          // ggml's number; types that Skvis cannot read are listed all the same
  std::vector<size_t> shape;  // outermost first (GGUF itself writes the innermost first)
  std::span<const std::byte> data;  // empty when the type's size is unknown
};

class GgufFile {
 public:
  // Maps the file and keeps the mapping.
  static Result<GgufFile> open(const std::filesystem::path& path);
  // `bytes` must outlive the object. `origin` (the file's name) begins every message.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, std::string_view origin);

  const std::string& origin() const { return origin_; }
  uint32_t version() const { return version_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  // Not found: nullptr.
  const GgufTensor* find_tensor(std::string_view name) const;
  const GgufValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  size_t metadata_count() const { return metadata_.size(); }
  const std::unordered_map<std::string_view, GgufValue>& metadata() const { return metadata_; }

  // Typed values; an error naming file, key, expected and found when the key is missing or of
  // another type. Whole numbers of any width are accepted for integer(), all numbers for number().
  Result<std::string_view> string(std::string_view key) const;
  Result<int64_t> integer(std::string_view key, int64_t min, int64_t max) const;
  Result<double> number(std::string_view key) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::vector<std::string_view>> strings(std::string_view key) const;
  Result<std::vector<int64_t>> integers(std::string_view key) const;
  Result<std::vector<double>> numbers(std::string_view key) const;
  Result<std::vector<bool>> booleans(std::string_view key) const;

  // As above, and `fallback` when the key is missing.
  Result<std::string_view> string_or(std::string_view key, std::string_view fallback) const;
  Result<int64_t> integer_or(std::string_view key, int64_t min, int64_t max,
                             int64_t fallback) const;
  Result<double> number_or(std::string_view key, double fallback) const;
  Result<bool> boolean_or(std::string_view key, bool fallback) const;

  // The tensor; an error when its type is none that Skvis reads.
  Result<TensorView> tensor(const GgufTensor& tensor) const;
  // The mapping, when open() made one.
  const MappedFile* mapping() const { return file_ ? &*file_ : nullptr; }

 private:
  GgufFile() = default;
  Result<const GgufValue*> require(std::string_view key, std::string_view expected) const;

  std::optional<MappedFile> file_;
  std::string origin_;
  uint32_t version_ = 0;
  std::unordered_map<std::string_view, GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

// "Q4_K" for 12; "type 77" for a number that ggml does not use.
std::string ggml_type_name(uint32_t type);

}  // namespace skvis
