// SPDX-License-Identifier: Apache-2.0
// Writes GGUF files for tests, correct ones and, by its knobs, lying ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/half.hpp"
#include "formats/gguf.hpp"

namespace skvis {

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

inline void put_text(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out += text;
}

class GgufWriter {
 public:
  uint32_t version = 3;
  size_t alignment = 32;
  std::optional<uint64_t> claimed_tensors, claimed_metadata;

  template <typename T>
  GgufWriter& value(std::string_view key, GgufType type, T number) {
    begin(key, type);
    put(metadata_, number);
    return *this;
  }
  GgufWriter& u32(std::string_view key, uint32_t number) {
    return value(key, GgufType::kUint32, number);
  }
  GgufWriter& f32(std::string_view key, float number) {
    return value(key, GgufType::kFloat32, number);
  }
  GgufWriter& text(std::string_view key, std::string_view content) {
    begin(key, GgufType::kString);
    put_text(metadata_, content);
    return *this;
  }
  GgufWriter& texts(std::string_view key, const std::vector<std::string>& contents) {
    begin_array(key, GgufType::kString, contents.size());
    for (const std::string& content : contents) put_text(metadata_, content);
    return *this;
  }
  template <typename T>
  GgufWriter& array(std::string_view key, GgufType type, const std::vector<T>& numbers) {
    begin_array(key, type, numbers.size());
    for (const T number : numbers) put(metadata_, number);
    return *this;
  }
  // Any bytes as one metadata entry after its key.
  GgufWriter& raw(std::string_view key, std::string_view bytes) {
    put_text(metadata_, key);
    metadata_ += bytes;
    ++metadata_count_;
    return *this;
  }
  // `shape` outermost first. `offset` overrides where the file says that the data lie.
  GgufWriter& tensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& shape,
                     std::string_view data, std::optional<uint64_t> offset = std::nullopt) {
    put_text(tensors_, name);
    put<uint32_t>(tensors_, static_cast<uint32_t>(shape.size()));
    for (size_t i = shape.size(); i-- > 0;) put<uint64_t>(tensors_, shape[i]);
    put<uint32_t>(tensors_, type);
    pad(data_);
    put<uint64_t>(tensors_, offset.value_or(data_.size()));
    data_ += data;
    ++tensor_count_;
    return *this;
  }

  std::string bytes() const {
    std::string file = "GGUF";
    put(file, version);
    put<uint64_t>(file, claimed_tensors.value_or(tensor_count_));
    put<uint64_t>(file, claimed_metadata.value_or(metadata_count_));
    file += metadata_;
    file += tensors_;
    pad(file);
    return file + data_;
  }

 private:
  void begin(std::string_view key, GgufType type) {
    put_text(metadata_, key);
    put(metadata_, static_cast<uint32_t>(type));
    ++metadata_count_;
  }
  void begin_array(std::string_view key, GgufType type, uint64_t count) {
    begin(key, GgufType::kArray);
    put(metadata_, static_cast<uint32_t>(type));
    put(metadata_, count);
  }
  void pad(std::string& text) const {
    text.resize((text.size() + alignment - 1) / alignment * alignment, '\0');
  }

  std::string metadata_, tensors_, data_;
  uint64_t metadata_count_ = 0, tensor_count_ = 0;
};

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}

inline std::string float_bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Rounds to ggml's block formats, 32 values a block.
inline std::string quantize(DType dtype, const std::vector<float>& values) {
  std::string out;
  for (size_t at = 0; at < values.size(); at += 32) {
    const float* block = values.data() + at;
    float low = block[0], high = block[0];
    for (size_t i = 1; i < 32; ++i) {
      low = std::min(low, block[i]);
      high = std::max(high, block[i]);
    }
    const float reach = std::max(std::abs(low), std::abs(high));
    const float wide = dtype == DType::kQ8_0   ? reach / 127
                       : dtype == DType::kQ4_0 ? reach / 7
                                               : (high - low) / 15;
    const Half scale = to_half(wide == 0 ? 1.0f : wide);
    const Half minimum = to_half(low);
    put(out, scale.bits);
    if (dtype == DType::kQ4_1) put(out, minimum.bits);
    const auto code = [&](size_t i) -> int {
      const float zero = dtype == DType::kQ4_1 ? to_float(minimum) : 0.0f;
      const int top = dtype == DType::kQ8_0 ? 127 : dtype == DType::kQ4_0 ? 7 : 15;
      const int bottom = dtype == DType::kQ4_1 ? 0 : -top;
      const int rounded = static_cast<int>(std::lround((block[i] - zero) / to_float(scale)));
      return std::clamp(rounded, bottom, top);
    };
    if (dtype == DType::kQ8_0) {
      for (size_t i = 0; i < 32; ++i) put(out, static_cast<int8_t>(code(i)));
    } else {
      const int shift = dtype == DType::kQ4_0 ? 8 : 0;
      for (size_t i = 0; i < 16; ++i) {
        put(out, static_cast<uint8_t>((code(i) + shift) | (code(i + 16) + shift) << 4));
      }
    }
  }
  return out;
}

}  // namespace skvis
