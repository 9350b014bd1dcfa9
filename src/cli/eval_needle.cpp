// SPDX-License-Identifier: Apache-2.0
// `skvis eval needle`: is a hidden number still found?
#include <fmt/core.h>

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "cli/eval.hpp"
#include "eval/needle.hpp"

namespace skvis {
namespace {

constexpr size_t kMostText = size_t{1} << 30;

struct NeedleOptions {
  CompareOptions compare;
  NeedleRun run;
  std::string filler;
};

void print_needles(const ComparedPlans& plans, const NeedleRun& run,
                   const std::vector<NeedleSummary>& summaries) {
  fmt::print(
      "needle: {}, {} prompts of at most {} tokens, {} question{} each; share of right answers ± "
      "standard error over prompts, and differences prompt by prompt\n",
      plans.baseline().engine->model().name, run.prompts, run.settings.context, run.settings.turns,
      run.settings.turns == 1 ? "" : "s");
  std::vector<std::vector<std::string>> table = {{"plan", "right",
                                                  "against " + plans.baseline().text, "digits of 5",
                                                  "KV pages", "of full", "rows kept", "asked for"}};
  for (uint32_t i = 0; i < run.settings.turns && run.settings.turns > 1; ++i) {
    table[0].push_back(fmt::format("turn {}", i + 1));
  }
  for (size_t i = 0; i < summaries.size(); ++i) {
    const NeedleSummary& sum = summaries[i];
    std::vector<std::string> row = {plans.all()[i].text,
                                    with_error(sum.right, 3),
                                    i == 0 ? "" : with_error(sum.difference, 3, true),
                                    fmt::format("{:.2f}", sum.digits),
                                    format_bytes(sum.kv_bytes),
                                    fmt::format("{:.1f} %", 100 * sum.kv_bytes / sum.full_bytes),
                                    fmt::format("{:.1f} %", 100 * sum.rows_share),
                                    fmt::format("{:.1f} %", 100 * sum.nominal)};
    for (const double turn : sum.per_turn) {
      if (run.settings.turns > 1) row.push_back(fmt::format("{:.3f}", turn));
    }
    table.push_back(std::move(row));
  }
  print_table(table);
}

Result<void> eval_needle(const NeedleOptions& options) {
  for (const double depth : options.run.settings.depths) {
    if (!(depth >= 0 && depth <= 100)) {
      return fail("--depths: {} is no depth in per cent, expected 0 to 100", depth);
    }
  }
  SKVIS_TRY(const std::string filler, read_file(options.filler, kMostText));
  SKVIS_TRY(CellFile cells, options.compare.open_cells());
  SKVIS_TRY(const ComparedPlans plans, options.compare.start());
  ProgressBar bar("asking");
  SKVIS_TRY(const auto summaries,
            run_needles(plans, options.run, filler, cells,
                        [&](size_t done, size_t total) { bar.update(done, total); }));
  bar.clear();
  print_needles(plans, options.run, summaries);
  return {};
}

}  // namespace

void add_eval_needle(CLI::App& eval, Action& action) {
  auto options = std::make_shared<NeedleOptions>();
  CLI::App* needle =
      eval.add_subcommand("needle", "Is a number that was hidden in the prompt still found?");
  options->compare.add_to(*needle);
  NeedleSettings& settings = options->run.settings;
  needle->add_option("--filler", options->filler, "Running text that needles are hidden in")
      ->required();
  needle->add_option("--context", settings.context, "Tokens of a prompt, at most")
      ->capture_default_str()
      ->check(CLI::Range(16u, 1u << 24));
  needle->add_option("--prompts", options->run.prompts, "Prompts")
      ->capture_default_str()
      ->check(CLI::Range(1u, 100000u));
  needle
      ->add_option("--turns", settings.turns,
                   "Needles in a prompt, asked for one after the other in one conversation")
      ->capture_default_str()
      ->check(CLI::Range(1u, 4u));
  needle
      ->add_option("--depths", settings.depths,
                   "Places of the needles in per cent, in turn (default: spread evenly)")
      ->delimiter(',');
  needle->add_option("--seed", settings.seed, "Same seed, same prompts")->capture_default_str();
  needle
      ->add_option("--new-tokens", options->run.new_tokens,
                   "The number must be among so many tokens of the answer")
      ->capture_default_str()
      ->check(CLI::Range(1u, 4096u));
  needle->footer(
      "A plan with a grid judges most of the text before it sees the question; one with\n"
      "settle=prompt judges with the question in sight.\n"
      "Examples:\n"
      "  skvis eval needle --filler novel.txt --plans int8,int4,snapkv-50\n"
      "  skvis eval needle --filler novel.txt --context 1000 --turns 3 \\\n"
      "      --kv \"snapkv:0.25 observe=16 settle=128\" --json needle.jsonl --resume");
  needle->callback([options, &action] { action = [options] { return eval_needle(*options); }; });
}

}  // namespace skvis
