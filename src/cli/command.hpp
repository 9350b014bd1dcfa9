// SPDX-License-Identifier: Apache-2.0
// What the subcommands share: how they are registered, the options that most of them take,
// progress.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/engine.hpp"

namespace skvis {

// A subcommand parses into its own options and leaves here what is to be done.
using Action = std::function<Result<void>()>;

// One function per file of this folder.
void add_run(CLI::App& app, Action& action);
void add_serve(CLI::App& app, Action& action);
void add_logits(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_grammar(CLI::App& app, Action& action);
void add_plan(CLI::App& app, Action& action);
void add_model(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_calibrate(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);

// Options of every command that runs a model.
struct ModelOptions {
  std::string model = "smollm2";
  std::string plan = "int8";
  std::string kv_memory;  // empty: a quarter of the free memory
  uint32_t context = 0;
  size_t threads = 0;
  std::string kernels;
  std::string log_level = "info";
  bool precise = false;
  bool bf16 = false;

  void add_to(CLI::App& app);
};

// Sets up logging and kernels, loads the model with a progress bar, resolves the plan.
Result<std::unique_ptr<Engine>> start_engine(const ModelOptions& options);

// A JSON file that is an array of token ids, each below `vocabulary`.
Result<std::vector<uint32_t>> read_ids(const std::string& path, size_t vocabulary);

// A bar on standard error for what takes longer than a moment: drawn in place on a terminal, one
// line every few seconds elsewhere.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what);
  ~ProgressBar();
  void update(size_t done, size_t total);
  void clear();  // before something else is printed

 private:
  std::string what_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
  bool terminal_;
  bool shown_ = false;
};

}  // namespace skvis
