// SPDX-License-Identifier: Apache-2.0
// safetensors: eight bytes of header length (little-endian), a JSON object
// {name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {text: text}}, then the
// data, which the tensors cover without overlap and without holes.
// https://github.com/huggingface/safetensors#format
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "formats/tensor.hpp"

namespace skvis {

struct SafetensorsEntry {
  std::string name;
  std::string
      dtype;  // as the file spells it; formats that Skvis cannot read are listed all the same
  std::vector<size_t> shape;
  std::span<const std::byte> data;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

// Checks everything that the header says against the bytes. The entries' data are parts of `bytes`,
// which must outlive them. `origin` (the file's name) begins every message.
Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> bytes,
                                            std::string_view origin);

// The entry as a tensor; an error when its dtype is none of F32, F16 and BF16.
Result<TensorView> to_tensor(const SafetensorsEntry& entry, std::string_view origin);

// {"weight_map": {tensor: file}} of model.safetensors.index.json: tensor name to file name. Refuses
// file names that leave the folder.
Result<std::map<std::string, std::string>> parse_safetensors_index(std::string_view text,
                                                                   std::string_view origin);

// Writes the tensors, in their order, as one file. Float formats only.
Result<void> write_safetensors(const std::filesystem::path& path,
                               std::span<const TensorView> tensors,
                               const std::map<std::string, std::string>& metadata = {});

}  // namespace skvis
