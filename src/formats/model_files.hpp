// SPDX-License-Identifier: Apache-2.0
// A model as people have it, a Hugging Face folder or a GGUF file, behind one face: its config, its
// tensors under Hugging Face names, and where its tokenizer and chat template lie.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.hpp"
#include "base/result.hpp"
#include "formats/gguf.hpp"
#include "formats/model_config.hpp"
#include "formats/tensor.hpp"

namespace skvis {

class ModelFiles {
 public:
  // `path`: a folder with config.json and model.safetensors or model.safetensors.index.json, or a
  // GGUF file (of split files any one). Files are mapped, nothing is read into memory.
  static Result<ModelFiles> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  const GenerationDefaults& generation_defaults() const { return generation_defaults_; }

  // Tensors by Hugging Face name: "model.layers.0.self_attn.q_proj.weight". A tied model has no
  // "lm_head.weight" even where the file repeats the embedding. The view is valid while this object
  // lives (moving it is fine). An error when the tensor is missing or its format cannot be read.
  bool has(std::string_view name) const { return entries_.contains(std::string(name)); }
  Result<TensorView> tensor(std::string_view name) const;
  // As above, and an error with both shapes unless the tensor has this one.
  Result<TensorView> tensor(std::string_view name, std::span<const size_t> shape) const;
  // Every tensor's name, sorted.
  std::vector<std::string> names() const;
  // Bytes of all tensors as stored, and number of values in them.
  size_t weight_bytes() const { return weight_bytes_; }
  size_t parameters() const { return parameters_; }
  // The tensor has been converted: its pages may leave memory (reading it again still works).
  void drop_resident(const TensorView& tensor) const;

  // Where the tokenizer lies: in a folder, tokenizer.json (empty path: there is none) with
  // tokenizer_config.json beside it; in a GGUF file, the metadata of gguf() (nullptr for folders).
  const std::filesystem::path& tokenizer_json() const { return tokenizer_json_; }
  const GgufFile* gguf() const { return gguf_.empty() ? nullptr : &gguf_.front(); }

  // All chat templates by name ("default", "tool_use", ...), from chat_template.jinja,
  // tokenizer_config.json or the GGUF metadata; and the one to use: "default", or the only one.
  const std::map<std::string, std::string>& chat_templates() const { return chat_templates_; }
  std::optional<std::string> chat_template() const;
  // bos_token and eos_token as text, which templates may name; empty where the files do not say.
  const std::string& bos_token() const { return bos_token_; }
  const std::string& eos_token() const { return eos_token_; }

  // "Hugging Face folder, 2 files" or "GGUF v3, 1 file", for `model info`.
  std::string description() const;

 private:
  struct Entry {
    TensorView view;
    std::string problem;  // not empty: why the tensor cannot be read
  };

  ModelFiles() = default;
  Result<void> open_folder();
  Result<void> open_shards();
  Result<void> add_safetensors(const std::filesystem::path& file);
  Result<void> read_tokenizer_config();
  Result<void> open_gguf();
  Result<void> open_split_files();
  Result<void> add_gguf_tensors();
  void read_gguf_tokens();
  Result<void> add_entry(std::string name, Entry entry, std::string_view origin);
  void finish();
  const MappedFile* mapping_of(const TensorView& tensor) const;

  std::filesystem::path path_;
  ModelConfig config_;
  GenerationDefaults generation_defaults_;
  std::vector<MappedFile> files_;  // safetensors
  std::vector<GgufFile> gguf_;     // split files in order
  std::unordered_map<std::string, Entry> entries_;
  size_t weight_bytes_ = 0;
  size_t parameters_ = 0;
  std::filesystem::path tokenizer_json_;
  std::map<std::string, std::string> chat_templates_;
  std::string bos_token_;
  std::string eos_token_;
};

}  // namespace skvis
