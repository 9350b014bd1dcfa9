// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"

#include <unistd.h>

#include <cstdio>

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "kernels/table.hpp"

namespace skvis {

using namespace std::chrono_literals;

void ModelOptions::add_to(CLI::App& app) {
  app.add_option("-m,--model", model,
                 "Hugging Face folder, GGUF file, or 'smollm2' for the default model")
      ->capture_default_str();
  app.add_option(
         "--kv", plan,
         "KV plan: a preset (full, int8, int4, snapkv-50, ...), a JSON file, or a line such "
         "as \"key=int4 value=int4 keep=snapkv:0.5\"; see `skvis plan`")
      ->capture_default_str();
  app.add_option("--kv-memory", kv_memory,
                 "Memory for the KV cache, e.g. 1GiB (default: a quarter of what is free)");
  app.add_option("-c,--ctx-size", context, "Context in tokens (default: the model's own)");
  app.add_option("-t,--threads", threads, "Threads (default: as many as this process may use)");
  app.add_option("--kernels", kernels, "Force a kernel level, e.g. scalar, avx2, avx512_vnni");
  app.add_option("--log-level", log_level, "trace, debug, info, warn, error or off")
      ->capture_default_str();
  CLI::Option* exact = app.add_flag("--precise", precise,
                                    "F32 weights, activations and exact rows throughout (slow)");
  app.add_flag("--bf16", bf16,
               "BF16 weights and activations for generated rows, too: twice the arithmetic where "
               "many sequences decode at once")
      ->excludes(exact);
}

Result<std::unique_ptr<Engine>> start_engine(const ModelOptions& options) {
  SKVIS_CHECK(set_up_log(options.log_level));
  if (!options.kernels.empty()) SKVIS_CHECK(kernels::force_level(options.kernels));
  EngineOptions engine;
  engine.plan = options.plan;
  if (!options.kv_memory.empty()) {
    SKVIS_TRY(engine.kv_memory, parse_bytes(options.kv_memory, "--kv-memory"));
  }
  engine.threads = options.threads;
  engine.context = options.context;
  if (options.bf16) engine.mode = DenseMode::bf16;
  if (options.precise) engine.mode = DenseMode::precise;
  ProgressBar bar("loading " + options.model);
  engine.progress = [&](size_t done, size_t total) { bar.update(done, total); };
  return Engine::create(options.model, engine);
}

Result<std::vector<uint32_t>> read_ids(const std::string& path, size_t vocabulary) {
  SKVIS_TRY(const std::string text, read_file(path, size_t{64} << 20));
  SKVIS_TRY(const Json json, parse_json(text, path));
  if (!json.is_array() || json.empty()) {
    return fail("{}: expected an array of token ids, found {}", path,
                json.is_array() ? "an empty array" : json_type(json));
  }
  std::vector<uint32_t> ids;
  for (const Json& id : json) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<uint64_t>() >= vocabulary) {
      return fail("{}: element {} is {}, expected a token id below {}", path, ids.size(),
                  dump_json(id), vocabulary);
    }
    ids.push_back(id.get<uint32_t>());
  }
  return ids;
}

ProgressBar::ProgressBar(std::string what)
    : what_(std::move(what)),
      start_(std::chrono::steady_clock::now()),
      drawn_(start_),
      terminal_(::isatty(STDERR_FILENO) != 0) {}

ProgressBar::~ProgressBar() {
  clear();
}

void ProgressBar::clear() {
  if (shown_ && terminal_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

void ProgressBar::update(size_t done, size_t total) {
  const auto now = std::chrono::steady_clock::now();
  // What is over in a moment needs no bar.
  if (total == 0 || now - start_ < 700ms) return;
  if (now - drawn_ < (terminal_ ? 100ms : 3000ms)) return;
  drawn_ = now;
  shown_ = true;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  if (terminal_) {
    constexpr int kWidth = 30;
    const int full = static_cast<int>(share * kWidth);
    fmt::print(stderr, "\r{} [{:=<{}}{: <{}}] {:3.0f} %\033[K", what_, "", full, "", kWidth - full,
               100 * share);
  } else {
    fmt::print(stderr, "{}: {:.0f} %\n", what_, 100 * share);
  }
  std::fflush(stderr);
}

}  // namespace skvis
