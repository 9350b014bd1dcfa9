// SPDX-License-Identifier: Apache-2.0
// `skvis eval ppl` and `skvis eval kld`: what is lost of a text's predictions.
#include <fmt/core.h>

#include <cmath>
#include <optional>

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "cli/eval.hpp"
#include "eval/text_loss.hpp"

namespace skvis {
namespace {

constexpr size_t kMostText = size_t{1} << 30;

struct TextOptions {
  CompareOptions compare;
  TextRun run;
  std::string text;
  std::string ids;
  uint32_t stride = 0;           // 0: the window
  std::optional<uint32_t> from;  // half of the window
  bool divergence = false;
};

using Columns = std::vector<std::string>;

Columns size_columns(const TextSummary& sum) {
  return {format_bytes(sum.kv_bytes), fmt::format("{:.1f} %", 100 * sum.kv_bytes / sum.full_bytes),
          fmt::format("{:.1f} %", 100 * sum.rows_share),
          fmt::format("{:.1f} %", 100 * sum.nominal)};
}

Columns perplexity_columns(const TextSummary& sum, bool baseline) {
  Columns columns = {fmt::format("{:.3f}", std::exp(sum.nll.mean)), with_error(sum.nll, 4)};
  columns.push_back(baseline ? "" : with_error(sum.nll_difference, 4, true));
  columns.push_back(baseline ? "" : fmt::format("±{:.4f}", sum.nll_difference_error));
  return columns;
}

Columns divergence_columns(const TextSummary& sum) {
  Columns columns = {with_error(sum.divergence, 5)};
  for (const double value : {sum.divergence_median, sum.divergence_p99, sum.divergence_most}) {
    columns.push_back(fmt::format("{:.5f}", value));
  }
  const Estimate same{.mean = 100 * sum.same_best.mean,
                      .error = 100 * sum.same_best.error,
                      .count = sum.same_best.count};
  columns.push_back(with_error(same, 2));
  columns.push_back(fmt::format("{:.4f}", sum.probability_rms));
  return columns;
}

void print_text(const ComparedPlans& plans, const TextRun& run, bool divergence,
                const std::vector<TextSummary>& summaries) {
  fmt::print(
      "{}: {}, {} windows of {} tokens at a stride of {}, the last {} tokens of each scored; ± "
      "standard errors over windows; KV at the end of blocks of scored tokens, on average\n",
      divergence ? "kld" : "ppl", plans.baseline().engine->model().name, run.windows, run.window,
      run.stride, run.scored());
  const std::string against = "against " + plans.baseline().text;
  Columns head = {"plan"};
  const Columns own =
      divergence ? Columns{"KL (nats)", "median", "99 %", "most", "same top token, %", "rms of Δp"}
                 : Columns{"ppl", "ln ppl", against, "over tokens"};
  head.insert(head.end(), own.begin(), own.end());
  for (const char* name : {"KV pages", "of full", "rows kept", "asked for"}) head.push_back(name);
  std::vector<Columns> table = {head};
  for (size_t i = 0; i < summaries.size(); ++i) {
    Columns row = {plans.all()[i].text};
    const auto add = [&](const Columns& columns) {
      row.insert(row.end(), columns.begin(), columns.end());
    };
    add(divergence ? divergence_columns(summaries[i]) : perplexity_columns(summaries[i], i == 0));
    add(size_columns(summaries[i]));
    table.push_back(std::move(row));
  }
  print_table(table);
}

Result<std::vector<uint32_t>> read_text(const TextOptions& options, const Engine& engine) {
  if (!options.ids.empty()) return read_ids(options.ids, engine.vocabulary());
  const LoadedModel& model = engine.model();
  if (!model.tokenizer) return fail("{}: {}", model.name, model.tokenizer_problem);
  SKVIS_TRY(const std::string text, read_file(options.text, kMostText));
  return model.tokenizer->encode(text, {.parse_special = false});
}

Result<void> eval_text(const TextOptions& options) {
  TextRun run = options.run;
  run.stride = options.stride > 0 ? options.stride : run.window;
  run.from = options.from.value_or(run.window / 2);
  SKVIS_TRY(CellFile cells, options.compare.open_cells());
  SKVIS_TRY(const ComparedPlans plans, options.compare.start());
  SKVIS_TRY(const auto ids, read_text(options, *plans.baseline().engine));
  ProgressBar bar("reading");
  SKVIS_TRY(const auto summaries, run_text(plans, run, ids, cells, [&](size_t done, size_t total) {
              bar.update(done, total);
            }));
  bar.clear();
  print_text(plans, run, options.divergence, summaries);
  return {};
}

void add_one(CLI::App& eval, Action& action, bool divergence) {
  auto options = std::make_shared<TextOptions>();
  options->divergence = divergence;
  const std::string name = divergence ? "kld" : "ppl";
  CLI::App* command = eval.add_subcommand(
      name, divergence ? "How far predictions under a plan are from those of the full cache"
                       : "Perplexity of a text that is read through the cache");
  options->compare.add_to(*command);
  auto* text = command->add_option("--text", options->text, "The text");
  auto* ids = command->add_option("--ids", options->ids, "The text as a JSON array of token ids");
  text->excludes(ids);
  command->add_option("--window", options->run.window, "Tokens read at a time, in an empty cache")
      ->capture_default_str()
      ->check(CLI::Range(3u, 1u << 24));
  command->add_option("--windows", options->run.windows, "Windows")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  command->add_option("--stride", options->stride,
                      "Tokens from one window to the next (default: the window)");
  command->add_option("--from", options->from,
                      "First token of a window that is scored; the prompt, at whose end some plans "
                      "settle, ends before it (default: half of the window)");
  command->footer(fmt::format(
      "The text is read as it would be served: what a plan drops is gone for what follows.\n"
      "Example:\n  skvis eval {} --text wiki.txt --plans int8,int4,snapkv-50 --json {}.jsonl "
      "--resume",
      name, name));
  command->callback([options, text, ids, &action] {
    if (text->count() + ids->count() == 0) throw CLI::RequiredError("--text or --ids");
    action = [options] { return eval_text(*options); };
  });
}

}  // namespace

void add_eval_text(CLI::App& eval, Action& action) {
  add_one(eval, action, false);
  add_one(eval, action, true);
}

}  // namespace skvis
