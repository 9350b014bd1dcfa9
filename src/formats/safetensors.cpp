// SPDX-License-Identifier: Apache-2.0
#include "formats/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "base/file.hpp"
#include "base/json.hpp"

namespace skvis {
namespace {

// The reference implementation's own limit.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxDimensions = 8;
constexpr size_t kMaxNameBytes = 4096;

// Bytes of one element by the file's name of the format; 0 for names that are not known.
size_t element_bytes(std::string_view dtype) {
  struct Format {
    std::string_view name;
    size_t bytes;
  };
  static constexpr Format kFormats[] = {{"F32", 4},  {"F16", 2},     {"BF16", 2},   {"F64", 8},
                                        {"I64", 8},  {"U64", 8},     {"I32", 4},    {"U32", 4},
                                        {"I16", 2},  {"U16", 2},     {"I8", 1},     {"U8", 1},
                                        {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  for (const Format& format : kFormats) {
    if (format.name == dtype) return format.bytes;
  }
  return 0;
}

std::optional<DType> readable_dtype(std::string_view name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (dtype_name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

struct RawEntry {
  std::string name;
  std::string dtype;
  std::vector<size_t> shape;
  std::vector<uint64_t> offsets;
  bool has_shape = false;
};

// Reads the header event by event: a header may be large, and building a tree of it would cost time
// that grows with the square of the number of keys.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool start_object(size_t) override {
    if (depth_ == 0 && !started_) return started_ = true, ++depth_, true;
    if (depth_ != 1 || in_array_) return unexpected("an object");
    ++depth_;
    if (!in_metadata_) entries.push_back({.name = key_, .dtype = {}, .shape = {}, .offsets = {}});
    return true;
  }
  bool end_object() override {
    if (depth_ == 2 && !in_metadata_ && !complete(entries.back())) return false;
    --depth_;
    in_metadata_ = false;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) return outer_key(name);
    key_ = name;
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ == 2 && in_metadata_) return metadata[key_] = text, true;
    if (!in_entry() || key_ != "dtype") return unexpected("a string");
    entries.back().dtype = text;
    return true;
  }
  bool start_array(size_t) override {
    if (!in_entry() || (key_ != "shape" && key_ != "data_offsets")) return unexpected("an array");
    in_array_ = true;
    if (key_ == "shape") {
      entries.back().has_shape = true;
      entries.back().shape.clear();
    } else {
      entries.back().offsets.clear();
    }
    return true;
  }
  bool end_array() override { return in_array_ = false, true; }
  bool number_unsigned(number_unsigned_t number) override {
    if (!in_array_) return unexpected("a number");
    if (key_ == "data_offsets") {
      if (entries.back().offsets.size() == 2) return unexpected("more than two numbers");
      entries.back().offsets.push_back(number);
      return true;
    }
    if (entries.back().shape.size() == kMaxDimensions) {
      return refuse("'shape' has more than {} dimensions", kMaxDimensions);
    }
    entries.back().shape.push_back(number);
    return true;
  }
  bool number_integer(number_integer_t number) override {
    return refuse("'{}' must hold sizes, found {}", key_, number);
  }
  bool number_float(number_float_t, const string_t& text) override {
    return refuse("'{}' must hold whole numbers, found {}", key_, text);
  }
  bool boolean(bool) override { return unexpected("true or false"); }
  bool null() override { return unexpected("null"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& problem) override {
    std::string_view what = problem.what();
    if (const auto end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
    error = fmt::format("header is not valid JSON at byte {}: {}", position, what);
    return false;
  }

  std::vector<RawEntry> entries;
  std::map<std::string, std::string> metadata;
  std::string error;

 private:
  bool in_entry() const { return depth_ == 2 && !in_metadata_ && !in_array_; }

  bool outer_key(const std::string& name) {
    key_ = name;
    if (name.size() > kMaxNameBytes) {
      error = fmt::format("header: a name has {} bytes, at most {} are allowed", name.size(),
                          kMaxNameBytes);
      return false;
    }
    if (!names_.insert(name).second) {
      error = fmt::format("header names '{}' twice", name);
      return false;
    }
    in_metadata_ = name == "__metadata__";
    return true;
  }

  bool complete(const RawEntry& entry) {
    key_.clear();
    if (entry.dtype.empty()) return refuse("'dtype' is missing, expected a string");
    if (!entry.has_shape) return refuse("'shape' is missing, expected an array of sizes");
    if (entry.offsets.size() != 2) {
      return refuse("'data_offsets' must hold two numbers, found {}", entry.offsets.size());
    }
    return true;
  }

  template <typename... Args>
  bool refuse(fmt::format_string<Args...> format, Args&&... args) {
    const std::string what = fmt::format(format, std::forward<Args>(args)...);
    error = depth_ == 2 && !in_metadata_ ? fmt::format("tensor {}: {}", entries.back().name, what)
                                         : fmt::format("header: {}", what);
    return false;
  }
  bool unexpected(std::string_view found) {
    if (depth_ == 0) return refuse("expected an object, found {}", found);
    return refuse("'{}': unexpected {}", key_, found);
  }

  std::string key_;
  std::unordered_set<std::string> names_;
  int depth_ = 0;
  bool started_ = false;
  bool in_metadata_ = false;
  bool in_array_ = false;
};

// Size and place of one tensor against its shape and the data that the file has.
Result<SafetensorsEntry> check_entry(RawEntry& raw, std::span<const std::byte> data,
                                     std::string_view origin) {
  const uint64_t begin = raw.offsets[0];
  const uint64_t end = raw.offsets[1];
  if (begin > end || end > data.size()) {
    return fail("{}: tensor {}: data_offsets [{}, {}] do not lie in the {} bytes of data", origin,
                raw.name, begin, end, data.size());
  }
  const std::optional<size_t> elements = shape_elements(raw.shape);
  if (!elements) {
    return fail("{}: tensor {}: shape {} overflows", origin, raw.name, shape_text(raw.shape));
  }
  if (const size_t each = element_bytes(raw.dtype); each != 0) {
    size_t expected = 0;
    if (__builtin_mul_overflow(*elements, each, &expected) || expected != end - begin) {
      return fail("{}: tensor {}: shape {} in {} does not match data_offsets [{}, {}], {} bytes",
                  origin, raw.name, shape_text(raw.shape), raw.dtype, begin, end, end - begin);
    }
  }
  return SafetensorsEntry{.name = std::move(raw.name),
                          .dtype = std::move(raw.dtype),
                          .shape = std::move(raw.shape),
                          .data = data.subspan(begin, end - begin)};
}

// Sorted by place, the tensors must cover the data: no overlap, no hole, no rest.
Result<void> check_cover(const std::vector<SafetensorsEntry>& tensors,
                         std::span<const std::byte> data, std::string_view origin) {
  size_t covered = 0;
  for (const SafetensorsEntry& tensor : tensors) {
    const size_t begin = static_cast<size_t>(tensor.data.data() - data.data());
    if (begin < covered) {
      return fail("{}: tensor {} begins at byte {}, inside another that ends at {}", origin,
                  tensor.name, begin, covered);
    }
    if (begin > covered) {
      return fail("{}: bytes {} to {} before tensor {} belong to no tensor", origin, covered, begin,
                  tensor.name);
    }
    covered = begin + tensor.data.size();
  }
  if (covered != data.size()) {
    return fail("{}: tensors end at byte {} of the data, the file has {}", origin, covered,
                data.size());
  }
  return {};
}

Result<std::string_view> header_text(std::span<const std::byte> bytes, std::string_view origin) {
  if (bytes.size() < 8) {
    return fail("{}: {} bytes, too short for the header length of a safetensors file", origin,
                bytes.size());
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (length > kMaxHeaderBytes) {
    return fail("{}: header length is {}, at most {} are allowed", origin, length, kMaxHeaderBytes);
  }
  if (length > bytes.size() - 8) {
    return fail("{}: header length is {}, but only {} bytes follow: the file is truncated", origin,
                length, bytes.size() - 8);
  }
  return std::string_view(reinterpret_cast<const char*>(bytes.data()) + 8,
                          static_cast<size_t>(length));
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> bytes,
                                            std::string_view origin) {
  SKVIS_TRY(const std::string_view text, header_text(bytes, origin));
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) {
    return fail("{}: {}", origin, reader.error);
  }
  const std::span<const std::byte> data = bytes.subspan(8 + text.size());
  SafetensorsHeader header{.tensors = {}, .metadata = std::move(reader.metadata)};
  header.tensors.reserve(reader.entries.size());
  for (RawEntry& raw : reader.entries) {
    SKVIS_TRY(SafetensorsEntry entry, check_entry(raw, data, origin));
    header.tensors.push_back(std::move(entry));
  }
  // Empty tensors may share their place with the one that follows.
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::make_pair(a.data.data(), a.data.size()) <
           std::make_pair(b.data.data(), b.data.size());
  });
  SKVIS_CHECK(check_cover(header.tensors, data, origin));
  return header;
}

Result<TensorView> to_tensor(const SafetensorsEntry& entry, std::string_view origin) {
  const std::optional<DType> dtype = readable_dtype(entry.dtype);
  if (!dtype) {
    return fail("{}: tensor {} has dtype {}, expected F32, F16 or BF16", origin, entry.name,
                entry.dtype);
  }
  return TensorView{.name = entry.name, .dtype = *dtype, .shape = entry.shape, .data = entry.data};
}

Result<std::map<std::string, std::string>> parse_safetensors_index(std::string_view text,
                                                                   std::string_view origin) {
  SKVIS_TRY(const Json json, parse_json(text, origin));
  const Json* map = json.is_object() && json.contains("weight_map") ? &json["weight_map"] : nullptr;
  if (map == nullptr || !map->is_object()) {
    return fail("{}: 'weight_map' must be an object of tensor names and file names", origin);
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string()) {
      return fail("{}: weight_map: '{}' must be a file name, found {}", origin, name,
                  json_type(file));
    }
    const std::string path = file.get<std::string>();
    if (path.empty() || path == "." || path == ".." || path.find('/') != path.npos ||
        path.find('\0') != path.npos) {
      return fail("{}: weight_map: '{}' must be a file of this folder, found \"{}\"", origin, name,
                  path);
    }
    files.emplace(name, path);
  }
  if (files.empty()) return fail("{}: 'weight_map' is empty", origin);
  return files;
}

}  // namespace skvis
