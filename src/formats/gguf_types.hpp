// SPDX-License-Identifier: Apache-2.0
// The numbers that GGUF files use for types of metadata values and of tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "formats/gguf.hpp"

namespace skvis {

struct GgmlType {
  uint32_t number;
  std::string_view name;
  size_t block_elements;
  size_t block_bytes;
};

// nullptr for numbers that ggml does not use.
const GgmlType* find_ggml_type(uint32_t number);

// The format under which Skvis reads the type, if it does.
std::optional<DType> readable_ggml_type(uint32_t number);

// "uint32"; "type 77" for a number that GGUF does not use.
std::string gguf_type_name(GgufType type);

// Bytes of one value; 0 for strings, arrays and unknown types.
size_t gguf_value_bytes(GgufType type);

}  // namespace skvis
