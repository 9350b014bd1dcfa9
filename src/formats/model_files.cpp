// SPDX-License-Identifier: Apache-2.0
// What folders and GGUF files have in common; each has its own file beside this one.
#include "formats/model_files.hpp"

#include <algorithm>
#include <functional>

namespace skvis {

Result<ModelFiles> ModelFiles::open(const std::filesystem::path& path) {
  ModelFiles files;
  files.path_ = path;
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  if (!std::filesystem::exists(status)) {
    return fail("{}: no such model, expected a folder with config.json or a GGUF file",
                path.string());
  }
  if (std::filesystem::is_directory(status)) {
    SKVIS_CHECK(files.open_folder());
  } else {
    SKVIS_CHECK(files.open_gguf());
  }
  files.finish();
  return files;
}

Result<TensorView> ModelFiles::tensor(std::string_view name) const {
  const auto it = entries_.find(std::string(name));
  if (it == entries_.end()) return fail("{}: tensor {} is missing", path_.string(), name);
  if (!it->second.problem.empty()) return Error{it->second.problem};
  return it->second.view;
}

Result<TensorView> ModelFiles::tensor(std::string_view name, std::span<const size_t> shape) const {
  SKVIS_TRY(TensorView view, tensor(name));
  const MappedFile* file = mapping_of(view);
  SKVIS_CHECK(check_shape(view, shape, (file != nullptr ? file->path() : path_).string()));
  return view;
}

std::vector<std::string> ModelFiles::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

void ModelFiles::drop_resident(const TensorView& tensor) const {
  const MappedFile* file = mapping_of(tensor);
  if (file == nullptr) return;
  const auto offset = static_cast<size_t>(tensor.data.data() - file->bytes().data());
  file->drop_resident(offset, tensor.data.size());
}

std::optional<std::string> ModelFiles::chat_template() const {
  if (const auto it = chat_templates_.find("default"); it != chat_templates_.end()) {
    return it->second;
  }
  if (chat_templates_.size() == 1) return chat_templates_.begin()->second;
  return std::nullopt;
}

std::string ModelFiles::description() const {
  const size_t count = gguf_.empty() ? files_.size() : gguf_.size();
  const std::string kind =
      gguf_.empty() ? "Hugging Face folder" : fmt::format("GGUF v{}", gguf_.front().version());
  return fmt::format("{}, {} {}", kind, count, count == 1 ? "file" : "files");
}

Result<void> ModelFiles::add_entry(std::string name, Entry entry, std::string_view origin) {
  entry.view.name = name;
  if (!entries_.emplace(name, std::move(entry)).second) {
    return fail("{}: tensor {} is in another file of this model as well", origin, name);
  }
  return {};
}

void ModelFiles::finish() {
  if (config_.tie_word_embeddings) entries_.erase("lm_head.weight");
  for (const auto& [name, entry] : entries_) {
    weight_bytes_ += entry.view.data.size();
    parameters_ += shape_elements(entry.view.shape).value_or(0);
  }
}

const MappedFile* ModelFiles::mapping_of(const TensorView& tensor) const {
  const auto holds = [&](const MappedFile& file) {
    const std::byte* begin = file.bytes().data();
    const std::less_equal<const std::byte*> not_after;
    return not_after(begin, tensor.data.data()) &&
           not_after(tensor.data.data() + tensor.data.size(), begin + file.bytes().size());
  };
  for (const MappedFile& file : files_) {
    if (holds(file)) return &file;
  }
  for (const GgufFile& file : gguf_) {
    if (file.mapping() != nullptr && holds(*file.mapping())) return file.mapping();
  }
  return nullptr;
}

}  // namespace skvis
