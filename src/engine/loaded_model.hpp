// SPDX-License-Identifier: Apache-2.0
// A model with everything that belongs to it: weights, tokenizer, chat template, defaults.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "model/model.hpp"
#include "text/chat_template.hpp"
#include "text/tokenizer.hpp"

namespace skvis {

// "smollm2": the default model in the user's cache folder (the message says how to fetch it);
// otherwise a path to a folder or a GGUF file.
Result<std::filesystem::path> find_model(std::string_view name);
// The folder for fetched models: $SKVIS_CACHE, else $XDG_CACHE_HOME/skvis, else ~/.cache/skvis.
std::filesystem::path cache_folder();

struct LoadOptions {
  DenseMode mode = DenseMode::fast;
  LoadProgress progress;
};

struct LoadedModel {
  std::string name;  // what was asked for: "smollm2", or the stem of the file or folder
  std::shared_ptr<const ModelFiles> files;
  Model model;
  std::optional<Tokenizer> tokenizer;  // folders without one can still compute logits
  std::string tokenizer_problem;       // why there is none
  std::optional<ChatTemplate>
      chat_template;              // with a tokenizer always: ChatML where the model has none
  std::vector<uint32_t> end_ids;  // tokens that end an answer
  std::string identity;           // for plans: a hash of config and weights' description

  const ModelConfig& config() const { return model.config(); }
};

// Refuses a model that does not fit into memory, with figures. `threads` is used while loading.
Result<LoadedModel> load_model(std::string_view name, const LoadOptions& options,
                               ThreadPool& threads);

// Only the tokenizer and the chat template; no weights are read.
struct ModelText {
  std::optional<Tokenizer> tokenizer;
  std::string tokenizer_problem;
  std::optional<ChatTemplate> chat_template;
};
ModelText load_text(const ModelFiles& files);

}  // namespace skvis
