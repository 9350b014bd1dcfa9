// SPDX-License-Identifier: Apache-2.0
// ModelFiles of one GGUF file or of several split files.
#include "formats/config_gguf.hpp"
#include "formats/model_files.hpp"

namespace skvis {
namespace {

constexpr int64_t kMaxSplits = 1024;
// "-00001-of-00003.gguf"
constexpr size_t kSuffixBytes = 20;

Result<std::filesystem::path> split_path(const std::filesystem::path& any, int64_t index,
                                         int64_t count) {
  const std::string name = any.filename().string();
  const std::string tail = fmt::format("-of-{:05}.gguf", count);
  if (name.size() <= kSuffixBytes || !name.ends_with(tail) ||
      name[name.size() - kSuffixBytes] != '-') {
    return fail("{}: one of {} split files, but its name does not end like -00001{}", any.string(),
                count, tail);
  }
  return any.parent_path() /
         fmt::format("{}-{:05}{}", name.substr(0, name.size() - kSuffixBytes), index + 1, tail);
}

// The rows of q and k, and nothing else, are stored in another order in llama files.
bool is_interleaved(std::string_view gguf_name) {
  for (const std::string_view part : {".attn_q.", ".attn_k."}) {
    if (gguf_name.find(part) != gguf_name.npos) return true;
  }
  return false;
}

}  // namespace

Result<void> ModelFiles::open_gguf() {
  SKVIS_TRY(GgufFile file, GgufFile::open(path_));
  SKVIS_TRY(const int64_t count, file.integer_or("split.count", 0, kMaxSplits, 1));
  gguf_.push_back(std::move(file));
  if (count > 1) SKVIS_CHECK(open_split_files());
  const GgufTensorFinder find = [this](std::string_view name) -> Result<std::optional<TensorView>> {
    for (const GgufFile& part : gguf_) {
      const GgufTensor* tensor = part.find_tensor(name);
      if (tensor == nullptr) continue;
      SKVIS_TRY(TensorView view, part.tensor(*tensor));
      return std::optional<TensorView>(std::move(view));
    }
    return std::optional<TensorView>();
  };
  SKVIS_TRY(config_, config_from_gguf(gguf_.front(), find));
  generation_defaults_ = generation_from_gguf(gguf_.front());
  chat_templates_ = templates_from_gguf(gguf_.front());
  read_gguf_tokens();
  return add_gguf_tensors();
}

// Replaces the one opened file by all of them in order; metadata lie in the first.
Result<void> ModelFiles::open_split_files() {
  SKVIS_TRY(const int64_t count, gguf_.front().integer("split.count", 2, kMaxSplits));
  std::vector<GgufFile> parts;
  int64_t tensors = 0;
  for (int64_t i = 0; i < count; ++i) {
    SKVIS_TRY(const std::filesystem::path part_path, split_path(path_, i, count));
    SKVIS_TRY(GgufFile part, GgufFile::open(part_path));
    SKVIS_TRY(const int64_t number, part.integer("split.no", 0, kMaxSplits));
    SKVIS_TRY(const int64_t total, part.integer("split.count", 0, kMaxSplits));
    if (number != i || total != count) {
      return fail("{}: says it is split {} of {}, its name says {} of {}", part_path.string(),
                  number + 1, total, i + 1, count);
    }
    tensors += static_cast<int64_t>(part.tensors().size());
    parts.push_back(std::move(part));
  }
  SKVIS_TRY(const int64_t expected,
            parts.front().integer_or("split.tensors.count", 0, INT32_MAX, tensors));
  if (expected != tensors) {
    return fail("{}: split files hold {} tensors, expected {}", path_.string(), tensors, expected);
  }
  gguf_ = std::move(parts);
  return {};
}

Result<void> ModelFiles::add_gguf_tensors() {
  const bool llama = config_.architecture == Architecture::kLlama;
  for (const GgufFile& file : gguf_) {
    for (const GgufTensor& tensor : file.tensors()) {
      const std::optional<std::string> name = hugging_face_name(tensor.name);
      if (!name) continue;
      Entry entry;
      if (auto view = file.tensor(tensor)) {
        entry.view = std::move(*view);
      } else {
        entry.problem = view.error().message;
        entry.view.shape = tensor.shape;
        entry.view.data = tensor.data;
      }
      if (llama && is_interleaved(tensor.name)) {
        if (entry.view.shape.empty() || entry.view.shape.size() > 2 ||
            entry.view.shape[0] % config_.head_dim != 0) {
          return fail("{}: tensor {} has shape {}, its rows must be whole heads of {}",
                      file.origin(), tensor.name, shape_text(entry.view.shape), config_.head_dim);
        }
        entry.view.interleaved_head_dim = config_.head_dim;
      }
      SKVIS_CHECK(add_entry(*name, std::move(entry), file.origin()));
    }
  }
  return {};
}

void ModelFiles::read_gguf_tokens() {
  const Result<std::vector<std::string_view>> tokens =
      gguf_.front().strings("tokenizer.ggml.tokens");
  if (!tokens) return;
  const auto text = [&](std::optional<int32_t> id) {
    return id && static_cast<size_t>(*id) < tokens->size() ? std::string((*tokens)[*id]) : "";
  };
  bos_token_ = text(config_.bos_id);
  if (!config_.eos_ids.empty()) eos_token_ = text(config_.eos_ids.front());
}

}  // namespace skvis
