// SPDX-License-Identifier: Apache-2.0
// ModelFiles of a Hugging Face folder.
#include <set>

#include "base/json.hpp"
#include "formats/config_json.hpp"
#include "formats/model_files.hpp"
#include "formats/safetensors.hpp"

namespace skvis {
namespace {

// Real ones have a few kilobytes (config), and up to some megabytes (index, tokenizer_config).
constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr size_t kMaxListBytes = size_t{64} << 20;

bool file_exists(const std::filesystem::path& path) {
  std::error_code problem;
  return std::filesystem::exists(path, problem);
}

// A special token is written as text or as {"content": text, ...}.
std::string token_text(const Json& config, std::string_view key) {
  const auto it = config.find(key);
  if (it == config.end()) return "";
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_object()) return "";
  const auto content = it->find("content");
  return content != it->end() && content->is_string() ? content->get<std::string>() : "";
}

// "chat_template": text, or [{"name": ..., "template": ...}, ...].
Result<std::map<std::string, std::string>> read_templates(const Json& config,
                                                          const std::string& where) {
  std::map<std::string, std::string> templates;
  const auto it = config.find("chat_template");
  if (it == config.end() || it->is_null()) return templates;
  if (it->is_string()) {
    templates["default"] = it->get<std::string>();
    return templates;
  }
  if (!it->is_array()) {
    return fail("{}: 'chat_template' must be a string or a list, found {}", where, json_type(*it));
  }
  for (const Json& entry : *it) {
    if (!entry.is_object()) {
      return fail("{}: 'chat_template' must list objects, found {}", where, json_type(entry));
    }
    SKVIS_TRY(const std::string name, json_string(entry, "name", where + ": chat_template"));
    SKVIS_TRY(templates[name], json_string(entry, "template", where + ": chat_template"));
  }
  return templates;
}

}  // namespace

Result<void> ModelFiles::open_folder() {
  const std::filesystem::path config_path = path_ / "config.json";
  if (!file_exists(config_path)) {
    return fail("{}: no config.json in this folder, expected a Hugging Face model", path_.string());
  }
  SKVIS_TRY(const std::string config, read_file(config_path, kMaxConfigBytes));
  SKVIS_TRY(config_, parse_model_config(config, config_path.string()));
  const std::filesystem::path generation_path = path_ / "generation_config.json";
  if (file_exists(generation_path)) {
    SKVIS_TRY(const std::string generation, read_file(generation_path, kMaxConfigBytes));
    SKVIS_TRY(generation_defaults_, parse_generation_config(generation, generation_path.string()));
  }
  if (file_exists(path_ / "tokenizer.json")) tokenizer_json_ = path_ / "tokenizer.json";
  SKVIS_CHECK(read_tokenizer_config());
  if (file_exists(path_ / "model.safetensors")) {
    SKVIS_CHECK(add_safetensors(path_ / "model.safetensors"));
  } else {
    SKVIS_CHECK(open_shards());
  }
  if (has("model.embed_tokens.weight") || !has("embed_tokens.weight")) return {};
  // Saved without the language model's head, names lack their first part.
  std::unordered_map<std::string, Entry> renamed;
  for (auto& [name, entry] : entries_) {
    const std::string full = name.starts_with("lm_head.") ? name : "model." + name;
    entry.view.name = full;
    renamed.emplace(full, std::move(entry));
  }
  entries_ = std::move(renamed);
  return {};
}

Result<void> ModelFiles::open_shards() {
  const std::filesystem::path index_path = path_ / "model.safetensors.index.json";
  if (!file_exists(index_path)) {
    return fail("{}: neither model.safetensors nor model.safetensors.index.json in this folder",
                path_.string());
  }
  SKVIS_TRY(const std::string text, read_file(index_path, kMaxListBytes));
  SKVIS_TRY(const auto index, parse_safetensors_index(text, index_path.string()));
  std::set<std::string> shards;
  for (const auto& [tensor, file] : index) shards.insert(file);
  for (const std::string& shard : shards) {
    if (!file_exists(path_ / shard)) {
      return fail("{}: weight_map names {}, which is not in the folder", index_path.string(),
                  shard);
    }
    SKVIS_CHECK(add_safetensors(path_ / shard));
  }
  for (const auto& [tensor, file] : index) {
    const auto it = entries_.find(tensor);
    const MappedFile* holder = it == entries_.end() ? nullptr : mapping_of(it->second.view);
    if (holder == nullptr || (holder->path() != path_ / file && !it->second.view.data.empty())) {
      return fail("{}: weight_map places tensor {} in {}, which does not hold it",
                  index_path.string(), tensor, file);
    }
  }
  return {};
}

Result<void> ModelFiles::add_safetensors(const std::filesystem::path& file) {
  const std::string origin = file.string();
  SKVIS_TRY(MappedFile mapped, MappedFile::open(file));
  SKVIS_TRY(const SafetensorsHeader header, parse_safetensors(mapped.bytes(), origin));
  for (const SafetensorsEntry& tensor : header.tensors) {
    Entry entry;
    if (auto view = to_tensor(tensor, origin)) {
      entry.view = std::move(*view);
    } else {
      entry.problem = view.error().message;
      entry.view.shape = tensor.shape;
      entry.view.data = tensor.data;
    }
    SKVIS_CHECK(add_entry(tensor.name, std::move(entry), origin));
  }
  files_.push_back(std::move(mapped));
  return {};
}

Result<void> ModelFiles::read_tokenizer_config() {
  const std::filesystem::path config_path = path_ / "tokenizer_config.json";
  if (file_exists(config_path)) {
    const std::string where = config_path.string();
    SKVIS_TRY(const std::string text, read_file(config_path, kMaxListBytes));
    SKVIS_TRY(const Json config, parse_json(text, where));
    if (!config.is_object()) {
      return fail("{}: expected an object, found {}", where, json_type(config));
    }
    bos_token_ = token_text(config, "bos_token");
    eos_token_ = token_text(config, "eos_token");
    SKVIS_TRY(chat_templates_, read_templates(config, where));
  }
  // Newer folders keep the template in a file of its own, which then wins.
  const std::filesystem::path template_path = path_ / "chat_template.jinja";
  if (file_exists(template_path)) {
    SKVIS_TRY(chat_templates_["default"], read_file(template_path, kMaxConfigBytes));
  }
  return {};
}

}  // namespace skvis
