// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <functional>

#include "attention/statistics.hpp"
#include "engine/filtered_prompt.hpp"

namespace skvis {
namespace {

// What selectors ask of attention, and of the model behind it.
class ModelStatistics final : public StoredAttention {
 public:
  explicit ModelStatistics(const Model& model) : model_(model) {}
  void output_norms(const CacheShape&, HeadId id, const RowsView& values,
                    std::span<float> out) const override {
    model_.output_norms(id, values, out);
  }

 private:
  const Model& model_;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Passes on, shows the inputs to who watches, and adds up the time of attention.
class TimedCache final : public LayerCache {
 public:
  TimedCache(LayerCache& cache, const LayerWatch& watch, size_t rows)
      : cache_(cache), watch_(watch), rows_(rows) {}
  void attend(const LayerInput& input, float* out) override {
    if (watch_) watch_(input, rows_);
    const auto start = Clock::now();
    cache_.attend(input, out);
    seconds_ += seconds_since(start);
  }
  double seconds() const { return seconds_; }

 private:
  LayerCache& cache_;
  const LayerWatch& watch_;
  size_t rows_;
  double seconds_ = 0;
};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(std::string_view model_name,
                                               const EngineOptions& options) {
  auto threads =
      std::make_shared<ThreadPool>(options.threads > 0 ? options.threads : available_threads());
  SKVIS_TRY(LoadedModel model,
            load_model(model_name, {.mode = options.mode, .progress = options.progress}, *threads));
  std::unique_ptr<Engine> engine(
      new Engine(std::make_shared<LoadedModel>(std::move(model)), std::move(threads)));
  const auto own_context = static_cast<uint32_t>(engine->model().config().context_length);
  if (options.context > own_context) {
    return fail("context of {} tokens is more than the {} tokens that {} was made for",
                options.context, own_context, engine->model().name);
  }
  engine->context_ = options.context > 0 ? options.context : own_context;
  const size_t memory = options.kv_memory > 0 ? options.kv_memory : available_memory() / 4;
  SKVIS_CHECK(engine->take_plan(options.plan, memory));
  return engine;
}

Result<std::unique_ptr<Engine>> Engine::with_plan(std::string_view plan, size_t kv_memory) const {
  std::unique_ptr<Engine> engine(new Engine(model_, threads_));
  engine->context_ = context_;
  engine->pool_ = pool_;
  SKVIS_CHECK(engine->take_plan(plan, kv_memory));
  return engine;
}

Result<void> Engine::take_plan(std::string_view text, size_t kv_memory) {
  const bool precise = model_->model.dense_path().mode == DenseMode::precise;
  SKVIS_TRY(
      const Plan plan,
      resolve_plan(text, model_->model.cache_shape(),
                   {.precise = precise, .model_identity = model_->identity, .plan_folder = {}}));
  if (kv_memory > 0) {
    SKVIS_TRY(Pool pool, Pool::create(kv_memory));
    pool_ = std::make_shared<Pool>(std::move(pool));
  }
  SKVIS_TRY(CacheLayout layout, CacheLayout::create(plan, *pool_));
  layout_ = std::make_unique<CacheLayout>(std::move(layout));
  if (layout_->needs().scoring_pass > 0) repeat_ = repeat_instruction(*model_);
  return {};
}

Result<void> Engine::can_ever_fit(uint32_t prompt, uint32_t tokens) const {
  if (tokens > context_) {
    return fail("{} tokens (a prompt of {} and {} to generate) are more than the context of {}",
                tokens, prompt, tokens - prompt, context_);
  }
  if (pool_->fits_empty(layout_->worst_case(prompt, tokens))) return {};
  return fail(
      "{} tokens need up to {} bytes of KV memory under plan '{}', and there are {}; ask for fewer "
      "tokens, take a smaller plan, or start with more --kv-memory",
      tokens, layout_->worst_case_bytes(prompt, tokens), plan().name, pool_->budget());
}

bool Engine::fits_now(uint32_t prompt, uint32_t tokens) const {
  return pool_->can_reserve(layout_->worst_case(prompt, tokens));
}

uint32_t Engine::most_tokens() const {
  uint32_t low = 0;
  uint32_t high = context_;
  while (low < high) {
    const uint32_t middle = low + (high - low + 1) / 2;
    if (can_ever_fit(middle, middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

Result<SequenceCache> Engine::open_sequence(uint32_t prompt, uint32_t tokens) {
  SKVIS_CHECK(can_ever_fit(prompt, tokens));
  const ReservationId reservation = pool_->reserve(layout_->worst_case(prompt, tokens));
  if (reservation == kUnreserved) {
    return fail("KV memory is taken at the moment: {} tokens need up to {} bytes, {} are free",
                tokens, layout_->worst_case_bytes(prompt, tokens), pool_->figures().free);
  }
  return SequenceCache(*layout_, *pool_, reservation);
}

Result<void> Engine::check_work(std::span<const StepWork> work) const {
  for (const StepWork& item : work) {
    const size_t tokens = item.sequence->committed() + item.tokens.size();
    const bool reads_again = item.prompt_ends && layout_->needs().scoring_pass > 0;
    if (reads_again && item.prompt.size() != tokens) {
      return fail(
          "plan {} reads a prompt a second time when it ends, and was given {} of the {} tokens of "
          "the sequence; StepWork::prompt must hold them all",
          plan().name, item.prompt.size(), tokens);
    }
    const bool waits = layout_->filters_rows() && item.kind == RowKind::prompt;
    const uint32_t most = !waits             ? static_cast<uint32_t>(item.tokens.size())
                          : item.prompt_ends ? newest_rows()
                                             : 0;
    if (item.logits_rows > most) {
      return fail(
          "logits of {} rows are asked for, and {} rows can give them{}", item.logits_rows, most,
          waits ? ": under this plan only the newest rows of a prompt reach the last layer" : "");
    }
  }
  return {};
}

uint32_t Engine::newest_rows() const {
  return newest_survivors(*layout_);
}

Result<void> Engine::step(std::span<const StepWork> work, std::span<float> logits,
                          const std::function<bool(size_t, size_t)>& progress) {
  SKVIS_CHECK(check_work(work));
  last_step_ = {};
  if (layout_->filters_rows()) {
    SKVIS_CHECK(forward_filtered(work, logits));
  } else {
    SKVIS_CHECK(forward(work, logits));
  }
  const auto start = Clock::now();
  for (const StepWork& item : work) SKVIS_CHECK(settle_after(item, progress));
  last_step_.settle = seconds_since(start);
  return {};
}

Result<void> Engine::forward(std::span<const StepWork> work, std::span<float> logits) {
  std::vector<StepRow> rows;
  std::vector<SequenceSlice> slices;
  for (const StepWork& item : work) {
    const auto count = static_cast<uint32_t>(item.tokens.size());
    assert(count > 0 && count <= item.sequence->slice(count));
    slices.push_back({.sequence = item.sequence,
                      .first_row = static_cast<uint32_t>(rows.size()),
                      .rows = count,
                      .kind = item.kind});
    for (uint32_t i = 0; i < count; ++i) {
      rows.push_back({.token = static_cast<int32_t>(item.tokens[i]),
                      .kind = item.kind,
                      .wants_logits = count - i <= item.logits_rows});
    }
  }
  const auto start = Clock::now();
  SKVIS_TRY(const auto attention, AttentionStep::begin(slices, *threads_));
  TimedCache timed(*attention, watch_, rows.size());
  SKVIS_CHECK(model_->model.forward(rows, timed, logits, *threads_));
  attention->commit_all();
  last_step_.attention += timed.seconds();
  last_step_.dense += seconds_since(start) - timed.seconds();
  return {};
}

// Prompts go through their layers one by one, generated rows together as ever.
Result<void> Engine::forward_filtered(std::span<const StepWork> work, std::span<float> logits) {
  std::vector<StepWork> generated;
  std::vector<size_t> places;  // in `logits`, of the generated rows' items
  size_t place = 0;
  const ModelStatistics statistics(model_->model);
  const auto start = Clock::now();
  for (const StepWork& item : work) {
    const size_t floats = item.logits_rows * vocabulary();
    if (item.kind == RowKind::prompt) {
      FilteredPrompt prompt(model_->model, *item.sequence, statistics, *threads_);
      SKVIS_CHECK(prompt.read(item.tokens));
      if (item.prompt_ends) {
        SKVIS_CHECK(prompt.finish(item.logits_rows, logits.subspan(place, floats)));
      }
    } else {
      generated.push_back(item);
      places.push_back(place);
    }
    place += floats;
  }
  last_step_.dense += seconds_since(start);
  if (generated.empty()) return {};
  size_t wanted = 0;
  for (const StepWork& item : generated) wanted += item.logits_rows * vocabulary();
  std::vector<float> together(wanted);
  SKVIS_CHECK(forward(generated, together));
  size_t read = 0;
  for (size_t i = 0; i < generated.size(); ++i) {
    const size_t floats = generated[i].logits_rows * vocabulary();
    std::copy_n(together.data() + read, floats, logits.data() + places[i]);
    read += floats;
  }
  return {};
}

Result<void> Engine::settle_after(const StepWork& work,
                                  const std::function<bool(size_t, size_t)>& progress) {
  const SettleRule& rule = plan().settle;
  const bool settles =
      rule.is_grid_point(work.sequence->committed()) || (work.prompt_ends && rule.at_prompt_end);
  if (!settles) return {};
  if (work.prompt_ends && layout_->needs().scoring_pass > 0) {
    SKVIS_TRY(const bool scored, run_scoring_pass(model_->model, repeat_, work.prompt,
                                                  *work.sequence, *threads_, progress));
    if (!scored) return {};
  }
  return settle(*work.sequence, ModelStatistics(model_->model), *threads_);
}

Result<void> Engine::read(SequenceCache& sequence, std::span<const uint32_t> tokens, uint32_t chunk,
                          uint32_t logits_rows, std::span<float> logits,
                          const std::function<bool(size_t, size_t)>& progress,
                          std::span<const uint32_t> prompt) {
  const size_t readings = layout_->needs().scoring_pass > 0 ? 2 : 1;
  if (prompt.empty() && sequence.length() == 0) prompt = tokens;
  const auto second = [&](size_t done, size_t total) {
    return !progress ||
           progress((tokens.size() + tokens.size() * done / total) / readings, tokens.size());
  };
  size_t done = 0;
  size_t written = 0;
  while (done < tokens.size()) {
    if (progress && !progress(done / readings, tokens.size())) return {};
    const uint32_t rows =
        sequence.slice(static_cast<uint32_t>(std::min<size_t>(chunk, tokens.size() - done)));
    const size_t left = tokens.size() - done - rows;  // tokens after this slice
    const auto wanted =
        static_cast<uint32_t>(left >= logits_rows ? 0 : std::min<size_t>(rows, logits_rows - left));
    const StepWork work{.sequence = &sequence,
                        .tokens = tokens.subspan(done, rows),
                        .kind = RowKind::prompt,
                        .logits_rows = wanted,
                        .prompt_ends = left == 0,
                        .prompt = prompt};
    const size_t floats = wanted * vocabulary();
    SKVIS_CHECK(step({&work, 1}, logits.subspan(written, floats), second));
    written += floats;
    done += rows;
  }
  if (progress) progress(done, tokens.size());
  return {};
}

}  // namespace skvis
