// SPDX-License-Identifier: Apache-2.0
// One model, one plan, one pool of KV memory, and the step over many sequences that everything else
// (generation, logits, benchmarks, the server) is made of. Engines with other plans may share the
// model and the pool.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attention/attention_step.hpp"
#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "cache/sequence_cache.hpp"
#include "engine/loaded_model.hpp"
#include "engine/scoring_pass.hpp"
#include "plan/plan.hpp"

namespace skvis {

struct EngineOptions {
  std::string plan = "int8";
  size_t kv_memory = 0;  // bytes; 0: a quarter of the memory that is free
  size_t threads = 0;    // 0: as many as this process may use
  uint32_t context = 0;  // 0: the model's own; more than the model's own is refused
  DenseMode mode = DenseMode::fast;
  LoadProgress progress;
};

// What one sequence does in a step. Its rows may not go beyond a grid point: see
// SequenceCache::slice.
struct StepWork {
  SequenceCache* sequence = nullptr;
  std::span<const uint32_t> tokens;
  RowKind kind = RowKind::prompt;
  uint32_t logits_rows = 0;  // the last so many rows write logits
  bool prompt_ends = false;  // the last row ends the prompt: plans may settle here
  // All tokens of the sequence, these included: where the prompt ends and the plan reads it twice.
  std::span<const uint32_t> prompt = {};
};

// Sees what every layer of a step gives attention, before attention runs: rows of all work in their
// order.
using LayerWatch = std::function<void(const LayerInput& input, size_t rows)>;

// Where a step's time went.
struct StepSeconds {
  double dense = 0;      // products with weights, norms, logits
  double attention = 0;  // appending rows included
  double settle = 0;     // second readings of prompts included
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> create(std::string_view model_name,
                                                const EngineOptions& options);

  // An engine with another plan over the same model and threads, for comparing plans: with a pool
  // of its own of `kv_memory` bytes, or (0) the same one. One of them steps at a time, and
  // sequences stay with the engine that opened them.
  Result<std::unique_ptr<Engine>> with_plan(std::string_view plan, size_t kv_memory = 0) const;

  const LoadedModel& model() const { return *model_; }
  const Plan& plan() const { return layout_->plan(); }
  const CacheLayout& layout() const { return *layout_; }
  Pool& pool() { return *pool_; }
  const Pool& pool() const { return *pool_; }
  ThreadPool& threads() { return *threads_; }
  uint32_t context() const { return context_; }
  size_t vocabulary() const { return model_->config().vocab_size; }

  // A sequence that may grow to `tokens` tokens, `prompt` of them prompt. Its memory is reserved
  // now and it never fails for memory later. Refused, with figures, when it does not fit: `now`
  // says whether it would fit an empty pool.
  Result<SequenceCache> open_sequence(uint32_t prompt, uint32_t tokens);
  bool fits_now(uint32_t prompt, uint32_t tokens) const;
  // Why a sequence of this size can never run here, or nothing.
  Result<void> can_ever_fit(uint32_t prompt, uint32_t tokens) const;
  // The most tokens that one sequence could have in an empty pool, at most context().
  uint32_t most_tokens() const;

  // Runs the model over all rows, commits them and settles the sequences that reached a grid point.
  // logits [sum of logits_rows, vocabulary], in the order of the work. Where a plan reads prompts
  // twice, `progress(done, total)` hears of the second reading; answering false leaves the sequence
  // unsettled, which is no error.
  Result<void> step(std::span<const StepWork> work, std::span<float> logits,
                    const std::function<bool(size_t, size_t)>& progress = {});
  const StepSeconds& last_step() const { return last_step_; }
  // Reads `tokens` as prompt rows in slices of at most `chunk`; logits [logits_rows, vocabulary] of
  // the last rows. `progress(done, total)` in tokens may answer false to stop early (not an error);
  // where the plan reads prompts twice, half a token counts for each reading. Such plans need
  // `prompt`, all tokens of the sequence with `tokens` at its end, unless the sequence is empty.
  Result<void> read(SequenceCache& sequence, std::span<const uint32_t> tokens, uint32_t chunk,
                    uint32_t logits_rows, std::span<float> logits,
                    const std::function<bool(size_t, size_t)>& progress = {},
                    std::span<const uint32_t> prompt = {});

  // Shows the layers of the steps to come, those of scoring passes not, to calibration; empty: no
  // more.
  void watch_layers(LayerWatch watch) { watch_ = std::move(watch); }

 private:
  Engine(std::shared_ptr<LoadedModel> model, std::shared_ptr<ThreadPool> threads)
      : model_(std::move(model)), threads_(std::move(threads)) {}
  Result<void> take_plan(std::string_view plan, size_t kv_memory);
  Result<void> check_work(std::span<const StepWork> work) const;
  uint32_t newest_rows() const;  // of a prompt, that reach the last layer in any case
  Result<void> forward(std::span<const StepWork> work, std::span<float> logits);
  Result<void> forward_filtered(std::span<const StepWork> work, std::span<float> logits);
  Result<void> settle_after(const StepWork& work,
                            const std::function<bool(size_t, size_t)>& progress);

  std::shared_ptr<LoadedModel> model_;
  std::shared_ptr<ThreadPool> threads_;
  std::shared_ptr<Pool> pool_;
  std::unique_ptr<CacheLayout> layout_;
  RepeatInstruction repeat_;  // where the plan reads prompts twice
  LayerWatch watch_;
  uint32_t context_ = 0;
  StepSeconds last_step_;
};

// Prompt rows per step unless a caller says otherwise: a grid step, long enough for the matrices.
inline constexpr uint32_t kPromptChunk = 256;

}  // namespace skvis
