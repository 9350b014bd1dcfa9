// SPDX-License-Identifier: Apache-2.0
#include "eval/text_loss.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cmath>

#include "eval/divergence.hpp"

namespace skvis {
namespace {

constexpr std::string_view kWhat = "text";
// Rows whose logits are held at a time: 49,152 floats each, twice, and the baseline's
// probabilities.
constexpr uint32_t kBlock = 64;

Json settings_of(const ComparedPlans& plans, const TextRun& run, std::span<const uint32_t> ids) {
  const size_t used = size_t{run.stride} * (run.windows - 1) + run.window;
  return Json{{"model", plans.baseline().engine->model().name},
              {"baseline", fmt::format("{:016x}", plans.baseline().plan().identity)},
              {"window", run.window},
              {"stride", run.stride},
              {"from", run.from},
              {"text", fmt::format("{:016x}", XXH3_64bits(ids.data(), used * sizeof ids[0]))}};
}

// One plan's reading of a window, and what it has lost so far.
class Reading {
 public:
  static Result<Reading> create(const ComparedPlan& plan, const TextRun& run) {
    SKVIS_TRY(SequenceCache sequence, plan.engine->open_sequence(run.from, run.window));
    return Reading(plan, std::move(sequence));
  }

  const ComparedPlan& plan() const { return *plan_; }

  // Reads rows up to `end`; logits [rows, vocabulary] of all of them, or of none.
  Result<void> read(std::span<const uint32_t> window, uint32_t end, uint32_t prompt_end,
                    std::span<float> logits) {
    const PlanKernels kernels(*plan_);
    const size_t vocabulary = plan_->engine->vocabulary();
    size_t written = 0;
    while (sequence_.committed() < end) {
      const uint32_t begin = sequence_.committed();
      const uint32_t rows = sequence_.slice(std::min(end - begin, kPromptChunk));
      const StepWork work{.sequence = &sequence_,
                          .tokens = window.subspan(begin, rows),
                          .logits_rows = logits.empty() ? 0 : rows,
                          .prompt_ends = begin + rows == prompt_end,
                          .prompt = window.first(begin + rows)};
      const size_t floats = work.logits_rows * vocabulary;
      SKVIS_CHECK(plan_->engine->step({&work, 1}, logits.subspan(written, floats)));
      written += floats;
    }
    return {};
  }

  void add(std::span<const RowLoss> losses, std::span<const RowLoss> baseline) {
    for (size_t i = 0; i < losses.size(); ++i) {
      nll_.push_back(losses[i].nll);
      nll_difference_.push_back(losses[i].nll - baseline[i].nll);
      divergence_.push_back(losses[i].divergence);
      same_best_ += losses[i].same_best ? 1 : 0;
      const double difference = losses[i].probability - baseline[i].probability;
      probability_squares_ += difference * difference;
    }
    const SequenceBytes bytes = sequence_.bytes();
    const uint32_t tokens = sequence_.committed();
    kv_bytes_.push_back(static_cast<double>(bytes.pages));
    row_bytes_.push_back(static_cast<double>(bytes.rows));
    full_bytes_.push_back(static_cast<double>(plan_->engine->layout().full_cache_bytes(tokens)));
    const double all_rows = static_cast<double>(plan_->plan().shape.heads()) * tokens;
    rows_share_.push_back(static_cast<double>(sequence_.rows_held()) / all_rows);
  }

  void write(Json& cell) {
    const auto tokens = static_cast<double>(nll_.size());
    const Estimate difference = estimate(nll_difference_);
    cell["tokens"] = nll_.size();
    cell["nll"] = estimate(nll_).mean;
    cell["nll_difference"] = difference.mean;
    // Per token, so that windows can be put together.
    cell["nll_difference_error"] = tokens > 1 ? difference.error : 0;
    cell["kl"] = estimate(divergence_).mean;
    cell["kl_median"] = quantile(divergence_, 0.5);
    cell["kl_p99"] = quantile(divergence_, 0.99);
    cell["kl_max"] = quantile(divergence_, 1);
    cell["same_best"] = same_best_ / tokens;
    cell["probability_rms"] = std::sqrt(probability_squares_ / tokens);
    cell["kv_bytes"] = estimate(kv_bytes_).mean;
    cell["row_bytes"] = estimate(row_bytes_).mean;
    cell["full_bytes"] = estimate(full_bytes_).mean;
    cell["rows_share"] = estimate(rows_share_).mean;
  }

 private:
  Reading(const ComparedPlan& plan, SequenceCache sequence)
      : plan_(&plan), sequence_(std::move(sequence)) {}

  const ComparedPlan* plan_;
  SequenceCache sequence_;
  std::vector<double> nll_, nll_difference_, divergence_;  // [tokens]
  double same_best_ = 0;
  double probability_squares_ = 0;
  std::vector<double> kv_bytes_, row_bytes_, full_bytes_, rows_share_;  // at the end of each block
};

// Logits of a block of rows against those of the baseline.
class Block {
 public:
  Block(const ComparedPlan& baseline, std::span<const uint32_t> next)
      : threads_(baseline.engine->threads()),
        vocabulary_(baseline.engine->vocabulary()),
        next_(next),
        reference_logits_(next.size() * vocabulary_),
        logits_(next.size() * vocabulary_),
        reference_(next.size()) {}

  std::span<float> reference_logits() { return reference_logits_; }
  std::span<float> logits() { return logits_; }
  void take_reference() {
    threads_.run(next_.size(), [&](size_t i, size_t) {
      reference_[i] = ReferenceRow::of(row(reference_logits_, i));
    });
  }
  std::vector<RowLoss> losses(const std::vector<float>& logits) {
    std::vector<RowLoss> result(next_.size());
    threads_.run(next_.size(), [&](size_t i, size_t) {
      result[i] = row_loss(reference_[i], row(logits, i), next_[i]);
    });
    return result;
  }
  std::vector<RowLoss> reference_losses() { return losses(reference_logits_); }
  std::vector<RowLoss> losses() { return losses(logits_); }

 private:
  std::span<const float> row(const std::vector<float>& logits, size_t i) const {
    return std::span(logits).subspan(i * vocabulary_, vocabulary_);
  }

  ThreadPool& threads_;
  size_t vocabulary_;
  std::span<const uint32_t> next_;
  std::vector<float> reference_logits_;
  std::vector<float> logits_;
  std::vector<ReferenceRow> reference_;
};

// Reads a window under the baseline, readings[0], and the others. `on_rows(rows)` after each block
// of each plan.
Result<void> read_window(std::span<Reading> readings, const TextRun& run,
                         std::span<const uint32_t> window,
                         const std::function<void(size_t)>& on_rows) {
  for (Reading& reading : readings) {
    SKVIS_CHECK(reading.read(window, run.from, run.from, {}));
    on_rows(run.from);
  }
  for (uint32_t begin = run.from; begin + 1 < run.window; begin += kBlock) {
    const uint32_t end = std::min(begin + kBlock, run.window - 1);
    Block block(readings[0].plan(), window.subspan(begin + 1, end - begin));
    SKVIS_CHECK(readings[0].read(window, end, run.from, block.reference_logits()));
    block.take_reference();
    const std::vector<RowLoss> baseline = block.reference_losses();
    readings[0].add(baseline, baseline);
    on_rows(end - begin);
    for (Reading& reading : readings.subspan(1)) {
      SKVIS_CHECK(reading.read(window, end, run.from, block.logits()));
      reading.add(block.losses(), baseline);
      on_rows(end - begin);
    }
  }
  return {};
}

// The standard error over all tokens, from the mean and error of windows of equal size.
double error_of_tokens(std::span<const double> means, std::span<const double> errors,
                       double tokens) {
  const double mean = estimate(means).mean;
  const auto windows = static_cast<double>(means.size());
  double squares = 0;  // of the deviations from the mean of all
  for (size_t i = 0; i < means.size(); ++i) {
    squares += errors[i] * errors[i] * tokens * (tokens - 1);
    squares += tokens * (means[i] - mean) * (means[i] - mean);
  }
  const double all = tokens * windows;
  return all > 1 ? std::sqrt(squares / (all - 1) / all) : std::nan("");
}

Result<TextSummary> summarise(std::span<const Json* const> cells, double tokens) {
  constexpr double kMost = 1e15;
  std::vector<double> nll, difference, error, divergence, same_best;
  TextSummary sum;
  const auto count = static_cast<double>(cells.size());
  for (const Json* cell : cells) {
    const std::string where = (*cell)["cell"].get<std::string>();
    const auto add = [&](const char* key, std::vector<double>& values) -> Result<void> {
      SKVIS_TRY(const double value, json_number(*cell, key, where, -kMost, kMost));
      values.push_back(value);
      return {};
    };
    const auto average = [&](const char* key, double& mean) -> Result<void> {
      SKVIS_TRY(const double value, json_number(*cell, key, where, 0, kMost));
      mean += value / count;
      return {};
    };
    SKVIS_CHECK(add("nll", nll));
    SKVIS_CHECK(add("nll_difference", difference));
    SKVIS_CHECK(add("nll_difference_error", error));
    SKVIS_CHECK(add("kl", divergence));
    SKVIS_CHECK(add("same_best", same_best));
    SKVIS_CHECK(average("kl_median", sum.divergence_median));
    SKVIS_CHECK(average("kl_p99", sum.divergence_p99));
    SKVIS_TRY(const double most, json_number(*cell, "kl_max", where, 0, kMost));
    sum.divergence_most = std::max(sum.divergence_most, most);
    SKVIS_CHECK(average("probability_rms", sum.probability_rms));
    SKVIS_CHECK(average("kv_bytes", sum.kv_bytes));
    SKVIS_CHECK(average("row_bytes", sum.row_bytes));
    SKVIS_CHECK(average("full_bytes", sum.full_bytes));
    SKVIS_CHECK(average("rows_share", sum.rows_share));
    SKVIS_CHECK(average("nominal", sum.nominal));
  }
  sum.nll = estimate(nll);
  sum.nll_difference = estimate(difference);
  sum.nll_difference_error = error_of_tokens(difference, error, tokens);
  sum.divergence = estimate(divergence);
  sum.same_best = estimate(same_best);
  return sum;
}

Result<void> check(const TextRun& run, std::span<const uint32_t> ids) {
  if (run.windows < 1 || run.stride < 1 || run.window < 2 || run.from > run.window - 2) {
    return fail(
        "windows of {} tokens scored from {}: expected at least one window, a stride of at"
        " least 1, and a first scored token before the window's last",
        run.window, run.from);
  }
  const size_t needed = size_t{run.stride} * (run.windows - 1) + run.window;
  if (ids.size() < needed) {
    return fail("the text has {} tokens; {} windows of {} at a stride of {} need {}", ids.size(),
                run.windows, run.window, run.stride, needed);
  }
  return {};
}

}  // namespace

Result<std::vector<TextSummary>> run_text(const ComparedPlans& plans, const TextRun& run,
                                          std::span<const uint32_t> ids, CellFile& cells,
                                          const std::function<void(size_t, size_t)>& progress) {
  SKVIS_CHECK(check(run, ids));
  const Json settings = settings_of(plans, run, ids);
  const size_t total = plans.all().size() * run.windows * (run.window - 1);
  size_t done = 0;
  for (uint32_t number = 0; number < run.windows; ++number) {
    std::vector<Reading> readings;
    bool complete = true;
    for (const ComparedPlan& plan : plans.all()) {
      const bool known = cells.find(cell_name(kWhat, settings, plan, number)) != nullptr;
      complete = complete && known;
      // The baseline is read again for any plan that is missing.
      if (known && !readings.empty()) continue;
      SKVIS_TRY(Reading reading, Reading::create(plan, run));
      readings.push_back(std::move(reading));
    }
    const size_t skipped = plans.all().size() - (complete ? 0 : readings.size());
    done += skipped * (run.window - 1);
    if (complete) continue;
    const auto window = ids.subspan(size_t{run.stride} * number, run.window);
    SKVIS_CHECK(read_window(readings, run, window, [&](size_t rows) {
      done += rows;
      if (progress) progress(done, total);
    }));
    for (Reading& reading : readings) {
      if (cells.find(cell_name(kWhat, settings, reading.plan(), number)) != nullptr) continue;
      Json cell = cell_begin(kWhat, settings, reading.plan(), number, run.window);
      reading.write(cell);
      SKVIS_CHECK(cells.add(std::move(cell)));
    }
  }
  std::vector<TextSummary> summaries;
  for (const ComparedPlan& plan : plans.all()) {
    std::vector<const Json*> found;
    for (uint32_t number = 0; number < run.windows; ++number) {
      found.push_back(cells.find(cell_name(kWhat, settings, plan, number)));
    }
    SKVIS_TRY(TextSummary summary, summarise(found, run.scored()));
    summaries.push_back(summary);
  }
  return summaries;
}

}  // namespace skvis
