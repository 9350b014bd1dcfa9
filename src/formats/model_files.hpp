// SPDX-License-Identifier: Apache-2.0
// A model as people have it, a Hugging Face folder or a GGUF file, behind one face: its config, its
// tensors under Hugging Face names, and where its tokenizer and chat template lie.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
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
  // lives (moving it is fine).
  bool has(std::string_view name) const { return entries_.contains(std::string(name)); }
  Result<TensorView> tensor(std::string_view name) const;
  // As above, with the shape checked and an error that names file, tensor, expected and found.
  Result<TensorView> tensor(std::string_view name, std::span<const size_t> shape) const;
  // Every tensor's name, sorted.
  std::vector<std::string> names() const;
  // Bytes of all tensors as stored; the number of values in them.
  size_t weight_bytes() const { return weight_bytes_; }
  size_t parameters() const { return parameters_; }
  // The tensor has been converted: its pages may leave memory (reading it again still works).
  void drop_resident(const TensorView& tensor) const;

  // Where the tokenizer lies: in a folder, tokenizer.json (empty path: there is none) with
  // tokenizer_config.json beside it; in a GGUF file, the metadata of gguf() (nullptr for folders).
  const std::filesystem::path& tokenizer_json() const { return tokenizer_json_; }
  const GgufFile* gguf() const { return gguf_.empty() ? nullptr : &gguf_.front(); }

  // From chat_template.jinja, tokenizer_config.json or tokenizer.chat_template; of several named
  // templates the one called "default".
  const std::optional<std::string>& chat_template() const { return chat_template_; }
  // bos_token and eos_token as text, which templates may name; empty where the files do not say.
  const std::string& bos_token() const { return bos_token_; }
  const std::string& eos_token() const { return eos_token_; }

  // "Hugging Face folder, 2 files" or "GGUF v3", for `model info`.
  std::string description() const;

 private:
  struct Entry {
    TensorView view;
    std::string problem;  // not empty: why the tensor cannot be read
    size_t file = 0;      // index of its mapping
  };

  ModelFiles() = default;
  Result<void> open_folder();
  Result<void> add_safetensors(const std::string& name);
  Result<void> read_tokenizer_config();
  Result<void> open_gguf();
  Result<void> add_gguf_tensors(const GgufFile& file, size_t index);
  Result<void> finish();
  const MappedFile& mapping(size_t index) const;

  std::filesystem::path path_;
  ModelConfig config_;
  GenerationDefaults generation_defaults_;
  std::vector<MappedFile> files_;  // safetensors
  std::vector<GgufFile> gguf_;     // split files in order
  std::unordered_map<std::string, Entry> entries_;
  size_t weight_bytes_ = 0;
  size_t parameters_ = 0;
  std::filesystem::path tokenizer_json_;
  std::optional<std::string> chat_template_;
  std::string bos_token_;
  std::string eos_token_;
};

}  // namespace skvis
