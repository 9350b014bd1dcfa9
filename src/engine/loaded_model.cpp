// SPDX-License-Identifier: Apache-2.0
#include "engine/loaded_model.hpp"

#include <xxhash.h>

#include <cstdlib>

#include "engine/engine.hpp"
#include "text/load_tokenizer.hpp"

namespace skvis {
namespace {

constexpr std::string_view kDefaultModel = "smollm2";
constexpr std::string_view kDefaultFile = "SmolLM2-135M-Instruct.Q4_1.gguf";

double mebibytes(size_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

Result<Tokenizer> read_tokenizer(const ModelFiles& files) {
  if (files.gguf() != nullptr) return load_tokenizer(*files.gguf());
  if (files.tokenizer_json().empty()) {
    return fail("{}: there is no tokenizer.json", files.path().string());
  }
  return load_tokenizer(files.tokenizer_json().parent_path());
}

std::vector<uint32_t> end_tokens(const ModelFiles& files,
                                 const std::optional<Tokenizer>& tokenizer) {
  std::vector<uint32_t> ends;
  const auto add = [&](auto id) {
    const auto token = static_cast<uint32_t>(id);
    if (std::find(ends.begin(), ends.end(), token) == ends.end()) ends.push_back(token);
  };
  for (const int32_t id : files.generation_defaults().eos_ids) add(id);
  if (ends.empty()) {
    for (const int32_t id : files.config().eos_ids) add(id);
  }
  if (tokenizer) {
    for (const uint32_t id : tokenizer->end_ids()) add(id);
  }
  return ends;
}

// What makes stored keys and values differ between models: the shape and the weights' names and
// places. Two files with the same of these and other weights are told apart by the embedding's
// bytes.
std::string identity_of(const ModelFiles& files) {
  std::string text = files.description();
  for (const std::string& name : files.names()) {
    text += name;
    const auto tensor = files.tensor(name);
    if (!tensor) continue;
    text += fmt::format("{}", fmt::join(tensor->shape, "x"));
    const auto bytes = tensor->data.subspan(0, std::min<size_t>(tensor->data.size(), 4096));
    text += fmt::format(":{:016x};", XXH3_64bits(bytes.data(), bytes.size()));
  }
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

Result<void> check_memory(const ModelFiles& files, const DensePath& path, size_t threads) {
  SKVIS_TRY(const ModelMemory needed, model_memory(files, path, kPromptChunk, 1, threads));
  const size_t free = available_memory();
  if (needed.total() <= free) return {};
  return fail(
      "{}: the model needs {:.0f} MiB ({:.0f} MiB weights as the kernels read them, {:.0f} MiB of "
      "the "
      "file, {:.0f} MiB workspace), and {:.0f} MiB are free; take a smaller model or a machine "
      "with "
      "more memory",
      files.path().string(), mebibytes(needed.total()), mebibytes(needed.packed),
      mebibytes(needed.mapped), mebibytes(needed.workspace), mebibytes(free));
}

}  // namespace

std::filesystem::path cache_folder() {
  if (const char* folder = std::getenv("SKVIS_CACHE")) return folder;
  if (const char* folder = std::getenv("XDG_CACHE_HOME")) {
    return std::filesystem::path(folder) / "skvis";
  }
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : ".") / ".cache" / "skvis";
}

Result<std::filesystem::path> find_model(std::string_view name) {
  std::error_code ignored;
  if (name == kDefaultModel && !std::filesystem::exists(name, ignored)) {
    const std::filesystem::path file = cache_folder() / kDefaultFile;
    if (std::filesystem::exists(file, ignored)) return file;
    return fail("the default model is not here yet: {} is missing; `make model` fetches it",
                file.string());
  }
  if (!std::filesystem::exists(name, ignored)) {
    return fail(
        "model '{}' does not exist; expected '{}', a folder with config.json, or a .gguf file",
        name, kDefaultModel);
  }
  return std::filesystem::path(name);
}

ModelText load_text(const ModelFiles& files) {
  ModelText text;
  auto tokenizer = read_tokenizer(files);
  if (!tokenizer) {
    text.tokenizer_problem = tokenizer.error().message;
    return text;
  }
  text.tokenizer = std::move(*tokenizer);
  auto chat =
      ChatTemplate::parse(files.chat_template().value_or(""), files.bos_token(), files.eos_token());
  if (!chat) {
    text.tokenizer_problem = fmt::format("chat template: {}", chat.error().message);
  } else {
    text.chat_template = std::move(*chat);
  }
  return text;
}

Result<LoadedModel> load_model(std::string_view name, const LoadOptions& options,
                               ThreadPool& threads) {
  SKVIS_TRY(const std::filesystem::path path, find_model(name));
  SKVIS_TRY(ModelFiles opened, ModelFiles::open(path));
  auto files = std::make_shared<const ModelFiles>(std::move(opened));
  SKVIS_TRY(const DensePath dense, choose_dense_path(options.mode));
  SKVIS_CHECK(check_memory(*files, dense, threads.threads()));
  SKVIS_TRY(Model model, Model::load(files, dense, threads, options.progress));
  ModelText text = load_text(*files);
  LoadedModel loaded{.name = {},
                     .files = files,
                     .model = std::move(model),
                     .tokenizer = std::move(text.tokenizer),
                     .tokenizer_problem = std::move(text.tokenizer_problem),
                     .chat_template = std::move(text.chat_template),
                     .end_ids = {},
                     .identity = identity_of(*files)};
  loaded.end_ids = end_tokens(*files, loaded.tokenizer);
  if (name == kDefaultModel) {
    loaded.name = name;
  } else {
    const std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
    loaded.name = (whole.has_filename() ? whole : whole.parent_path()).stem().string();
  }
  return loaded;
}

}  // namespace skvis
