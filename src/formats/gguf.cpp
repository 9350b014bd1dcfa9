// SPDX-License-Identifier: Apache-2.0
// Parsing: every count and length is held against the bytes that are left before it is believed.
#include "formats/gguf.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "formats/gguf_types.hpp"

namespace skvis {
namespace {

constexpr size_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr size_t kMaxDimensions = 4;
constexpr size_t kMaxArrayDepth = 4;
constexpr size_t kDefaultAlignment = 32;
constexpr size_t kMaxAlignment = size_t{1} << 20;
// The shortest metadata entry and tensor description, by which their number is bounded.
constexpr size_t kMinEntryBytes = 8 + 4 + 1;
constexpr size_t kMinTensorBytes = 8 + 4 + 4 + 8;

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view origin)
      : bytes_(bytes), origin_(origin) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  std::string_view origin() const { return origin_; }

  template <typename T>
  Result<T> read(std::string_view what) {
    if (left() < sizeof(T)) return truncated(what, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  Result<std::span<const std::byte>> take(uint64_t length, std::string_view what) {
    if (length > left()) return truncated(what, length);
    const auto taken = bytes_.subspan(position_, static_cast<size_t>(length));
    position_ += static_cast<size_t>(length);
    return taken;
  }

  Result<std::string_view> text(std::string_view what) {
    SKVIS_TRY(const uint64_t length, read<uint64_t>(what));
    SKVIS_TRY(const std::span<const std::byte> data, take(length, what));
    return std::string_view(reinterpret_cast<const char*>(data.data()), data.size());
  }

 private:
  Error truncated(std::string_view what, uint64_t needed) const {
    return fail("{}: {} at byte {} needs {} bytes, only {} are left: the file is truncated or lies",
                origin_, what, position_, needed, left());
  }

  std::span<const std::byte> bytes_;
  std::string_view origin_;
  size_t position_ = 0;
};

// Names come from the file: what is not plain text is not repeated in messages.
std::string shown(std::string_view name) {
  std::string text(name.substr(0, 80));
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return text;
}

// Walks over the elements of an array; nested arrays are allowed by the format.
Result<void> skip_elements(Reader& reader, GgufType type, uint64_t count, std::string_view key,
                           size_t depth) {
  if (const size_t each = gguf_value_bytes(type); each != 0) {
    if (count > reader.left() / each) {
      return fail("{}: array '{}' claims {} values of {}, only {} bytes are left", reader.origin(),
                  shown(key), count, gguf_type_name(type), reader.left());
    }
    SKVIS_TRY(const auto data, reader.take(count * each, "array"));
    return (void)data, Result<void>();
  }
  if (type != GgufType::kString && type != GgufType::kArray) {
    return fail("{}: array '{}' holds values of unknown {}", reader.origin(), shown(key),
                gguf_type_name(type));
  }
  // A string takes at least 8 bytes, an array 12.
  if (count > reader.left() / 8) {
    return fail("{}: array '{}' claims {} values of {}, only {} bytes are left", reader.origin(),
                shown(key), count, gguf_type_name(type), reader.left());
  }
  for (uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::kString) {
      SKVIS_TRY(const std::string_view text, reader.text("string in an array"));
      (void)text;
      continue;
    }
    if (depth == kMaxArrayDepth) {
      return fail("{}: array '{}' is nested deeper than {} levels", reader.origin(), shown(key),
                  kMaxArrayDepth);
    }
    SKVIS_TRY(const uint32_t inner, reader.read<uint32_t>("type of an inner array"));
    SKVIS_TRY(const uint64_t length, reader.read<uint64_t>("length of an inner array"));
    SKVIS_CHECK(skip_elements(reader, GgufType{inner}, length, key, depth + 1));
  }
  return {};
}

Result<GgufValue> read_value(Reader& reader, std::span<const std::byte> bytes,
                             std::string_view key) {
  SKVIS_TRY(const uint32_t type, reader.read<uint32_t>("type of a metadata value"));
  GgufValue value;
  value.type = GgufType{type};
  if (value.type == GgufType::kString) {
    SKVIS_TRY(const std::string_view text, reader.text("metadata string"));
    value.data = std::as_bytes(std::span(text));
    return value;
  }
  if (value.type == GgufType::kArray) {
    SKVIS_TRY(const uint32_t element, reader.read<uint32_t>("type of an array"));
    value.element_type = GgufType{element};
    SKVIS_TRY(value.count, reader.read<uint64_t>("length of an array"));
    const size_t begin = reader.position();
    SKVIS_CHECK(skip_elements(reader, value.element_type, value.count, key, 1));
    value.data = bytes.subspan(begin, reader.position() - begin);
    return value;
  }
  const size_t size = gguf_value_bytes(value.type);
  if (size == 0) {
    return fail("{}: metadata '{}' has unknown {}", reader.origin(), shown(key),
                gguf_type_name(value.type));
  }
  SKVIS_TRY(value.data, reader.take(size, "metadata value"));
  return value;
}

struct RawTensor {
  GgufTensor tensor;
  uint64_t offset = 0;  // from the beginning of the tensor data
  size_t bytes = 0;     // 0 when the type's size is unknown
};

// Bytes of the tensor as stored; 0 for types of unknown size.
Result<size_t> stored_bytes(const GgufTensor& tensor, std::string_view origin) {
  const std::optional<size_t> elements = shape_elements(tensor.shape);
  if (!elements) {
    return fail("{}: tensor {}: shape {} overflows", origin, shown(tensor.name),
                shape_text(tensor.shape));
  }
  const GgmlType* type = find_ggml_type(tensor.type);
  if (type == nullptr) return size_t{0};
  const size_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (columns % type->block_elements != 0) {
    return fail("{}: tensor {}: rows of {} values are no multiple of {}'s block of {}", origin,
                shown(tensor.name), columns, type->name, type->block_elements);
  }
  size_t bytes = 0;
  if (__builtin_mul_overflow(*elements / type->block_elements, type->block_bytes, &bytes)) {
    return fail("{}: tensor {}: shape {} overflows", origin, shown(tensor.name),
                shape_text(tensor.shape));
  }
  return bytes;
}

Result<RawTensor> read_tensor(Reader& reader) {
  RawTensor raw;
  SKVIS_TRY(raw.tensor.name, reader.text("name of a tensor"));
  SKVIS_TRY(const uint32_t dimensions, reader.read<uint32_t>("dimensions of a tensor"));
  if (dimensions > kMaxDimensions) {
    return fail("{}: tensor {} has {} dimensions, at most {} are allowed", reader.origin(),
                shown(raw.tensor.name), dimensions, kMaxDimensions);
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    SKVIS_TRY(const uint64_t size, reader.read<uint64_t>("shape of a tensor"));
    raw.tensor.shape.insert(raw.tensor.shape.begin(), size);
  }
  SKVIS_TRY(raw.tensor.type, reader.read<uint32_t>("type of a tensor"));
  SKVIS_TRY(raw.offset, reader.read<uint64_t>("offset of a tensor"));
  SKVIS_TRY(raw.bytes, stored_bytes(raw.tensor, reader.origin()));
  return raw;
}

// Gives every tensor its bytes, in the order of the file, and refuses those that lie outside, on
// unaligned places, or over one another.
Result<void> place_tensors(std::vector<RawTensor>& tensors, std::span<const std::byte> data,
                           size_t alignment, std::string_view origin) {
  std::vector<const RawTensor*> order;
  for (RawTensor& raw : tensors) {
    const std::string name = shown(raw.tensor.name);
    if (raw.offset % alignment != 0) {
      return fail("{}: tensor {}: offset {} is no multiple of the alignment {}", origin, name,
                  raw.offset, alignment);
    }
    if (raw.offset > data.size() || raw.bytes > data.size() - raw.offset) {
      return fail(
          "{}: tensor {}: {} bytes at offset {} do not lie in the {} bytes of tensor data: the "
          "file is truncated or lies",
          origin, name, raw.bytes, raw.offset, data.size());
    }
    raw.tensor.data = data.subspan(raw.offset, raw.bytes);
    if (raw.bytes != 0) order.push_back(&raw);
  }
  std::sort(order.begin(), order.end(),
            [](const RawTensor* a, const RawTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const RawTensor& before = *order[i - 1];
    if (order[i]->offset < before.offset + before.bytes) {
      return fail("{}: tensor {} at offset {} overlaps tensor {}, which ends at {}", origin,
                  shown(order[i]->tensor.name), order[i]->offset, shown(before.tensor.name),
                  before.offset + before.bytes);
    }
  }
  return {};
}

struct Counts {
  uint32_t version;
  uint64_t tensors;
  uint64_t metadata;
};

Result<Counts> read_counts(Reader& reader) {
  const std::string_view origin = reader.origin();
  SKVIS_TRY(const auto magic, reader.take(4, "magic"));
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    return fail("{}: not a GGUF file: it must begin with the letters GGUF", origin);
  }
  SKVIS_TRY(const uint32_t version, reader.read<uint32_t>("version"));
  if ((version & 0xffff) == 0) {
    return fail("{}: GGUF file of a big-endian machine, expected little-endian", origin);
  }
  if (version != 2 && version != 3) {
    return fail("{}: GGUF version {} is not supported, expected 2 or 3", origin, version);
  }
  SKVIS_TRY(const uint64_t tensors, reader.read<uint64_t>("number of tensors"));
  SKVIS_TRY(const uint64_t metadata, reader.read<uint64_t>("number of metadata values"));
  if (metadata > reader.left() / kMinEntryBytes || tensors > reader.left() / kMinTensorBytes) {
    return fail("{}: header claims {} metadata values and {} tensors, but only {} bytes follow",
                origin, metadata, tensors, reader.left());
  }
  return Counts{version, tensors, metadata};
}

}  // namespace

Result<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  SKVIS_TRY(MappedFile mapped, MappedFile::open(path));
  SKVIS_TRY(GgufFile file, parse(mapped.bytes(), path.string()));
  file.file_ = std::move(mapped);
  return file;
}

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string_view origin) {
  Reader reader(bytes, origin);
  SKVIS_TRY(const Counts counts, read_counts(reader));
  GgufFile file;
  file.origin_ = origin;
  file.version_ = counts.version;
  for (uint64_t i = 0; i < counts.metadata; ++i) {
    SKVIS_TRY(const std::string_view key, reader.text("metadata key"));
    if (key.size() > kMaxKeyBytes) {
      return fail("{}: a metadata key has {} bytes, at most {} are allowed", origin, key.size(),
                  kMaxKeyBytes);
    }
    SKVIS_TRY(const GgufValue value, read_value(reader, bytes, key));
    if (!file.metadata_.emplace(key, value).second) {
      return fail("{}: metadata '{}' is given twice", origin, shown(key));
    }
  }
  std::vector<RawTensor> raw;
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    SKVIS_TRY(RawTensor tensor, read_tensor(reader));
    if (!file.tensor_index_.emplace(tensor.tensor.name, raw.size()).second) {
      return fail("{}: tensor {} is described twice", origin, shown(tensor.tensor.name));
    }
    raw.push_back(std::move(tensor));
  }
  SKVIS_TRY(const int64_t alignment,
            file.integer_or("general.alignment", 1, kMaxAlignment, kDefaultAlignment));
  if (!std::has_single_bit(static_cast<uint64_t>(alignment))) {
    return fail("{}: 'general.alignment' must be a power of two, found {}", origin, alignment);
  }
  const auto step = static_cast<size_t>(alignment);
  const size_t begin = std::min(bytes.size(), (reader.position() + step - 1) / step * step);
  SKVIS_CHECK(place_tensors(raw, bytes.subspan(begin), step, origin));
  for (RawTensor& tensor : raw) file.tensors_.push_back(std::move(tensor.tensor));
  return file;
}

}  // namespace skvis
