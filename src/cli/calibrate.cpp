// SPDX-License-Identifier: Apache-2.0
// `skvis calibrate`: what is measured once per model and then used by plans.
#include "cli/calibrate.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "base/file.hpp"
#include "base/json.hpp"
#include "eval/calibrate.hpp"

namespace skvis {
namespace {

constexpr size_t kMostText = size_t{1} << 30;

struct CalibrateOptions {
  ModelOptions model;
  std::string selector = "snapkv";
  double ratio = 0.5;
  double alpha = 2;
  bool across_layers = false;
  SampleOptions samples;
  std::string out;
};

Result<void> calibrate_budget(CalibrateOptions options) {
  options.model.plan =
      fmt::format("{} ratio={} budget={} safeguard=0 settle=prompt", "keep=" + options.selector,
                  options.ratio, options.across_layers ? "cross-layer" : "ada");
  SKVIS_TRY(const auto engine, start_engine(options.model));
  const LoadedModel& model = engine->model();
  if (!model.tokenizer) return fail("{}: {}", options.model.model, model.tokenizer_problem);
  SKVIS_TRY(const auto samples, cut_samples(options.samples, *model.tokenizer));
  ProgressBar bar("calibrating");
  SKVIS_TRY(const HeadShares shares, measure_shares(*engine, samples, [&](size_t done, size_t all) {
              bar.update(done, all);
            }));
  const BudgetProfile profile = profile_of(shares);
  const BudgetPrice price = price_of(profile.budget(options.alpha), shares);
  const auto [least, most] = std::minmax_element(profile.mean.begin(), profile.mean.end());
  fmt::print("{} samples of {} tokens, plan '{}'\n", samples.size(), options.samples.tokens,
             options.model.plan);
  fmt::print(
      "heads keep {:.1f} to {:.1f} % of the rows that can be dropped; deviation of a head "
      "{:.1f} % at most\n",
      *least * 100, *most * 100,
      *std::max_element(profile.deviation.begin(), profile.deviation.end()) * 100);
  fmt::print("rank correlation of a sample with the mean {:.3f}, {:.3f} at worst\n",
             profile.correlation_mean, profile.correlation_worst);
  fmt::print("at alpha {:g}: {:.2f} times the mean reserved, {:.2f} % of kept rows cut off\n",
             options.alpha, price.reserve, price.cut * 100);
  Json plan = calibrated_plan(engine->plan(), profile.budget(options.alpha));
  plan["name"] = fmt::format("{}-{:g}", engine->plan().keep.selector->name, options.ratio * 100);
  plan["description"] = fmt::format(
      "What {} keeps at {:g}, shared among the heads as {} samples of {} tokens have it: mean plus "
      "{:g} deviations.",
      engine->plan().keep.selector->name, options.ratio, samples.size(), options.samples.tokens,
      options.alpha);
  plan["source"] = "Tangram (arXiv 2606.06302).";
  SKVIS_CHECK(write_file(options.out, plan.dump(1) + "\n"));
  fmt::print("plan written to {}; try: skvis plan {}\n", options.out, options.out);
  return {};
}

}  // namespace

void SampleOptions::add_to(CLI::App& app) {
  app.add_option("--text", texts, "Text files that samples are cut from")->required();
  app.add_option("--samples", samples, "Samples in all")
      ->capture_default_str()
      ->check(CLI::Range(1u, 10000u));
  app.add_option("--tokens", tokens, "Tokens of a sample")
      ->capture_default_str()
      ->check(CLI::Range(16u, 1u << 20));
}

Result<std::vector<std::vector<uint32_t>>> cut_samples(const SampleOptions& options,
                                                       const Tokenizer& tokenizer) {
  std::vector<std::vector<uint32_t>> samples;
  for (size_t i = 0; i < options.texts.size(); ++i) {
    const size_t wanted = options.samples * (i + 1) / options.texts.size() -
                          options.samples * i / options.texts.size();
    if (wanted == 0) continue;
    SKVIS_TRY(const std::string text, read_file(options.texts[i], kMostText));
    SKVIS_TRY(const std::vector<uint32_t> ids, tokenizer.encode(text));
    if (ids.size() < wanted * options.tokens) {
      return fail(
          "{}: {} tokens are too few for {} samples of {}; give more texts or --samples or"
          " --tokens fewer",
          options.texts[i], ids.size(), wanted, options.tokens);
    }
    for (size_t k = 0; k < wanted; ++k) {
      // The middle of each part: books begin with title pages and tables.
      const size_t offset = (ids.size() - options.tokens) * (2 * k + 1) / (2 * wanted);
      const auto begin = ids.begin() + static_cast<ptrdiff_t>(offset);
      samples.emplace_back(begin, begin + options.tokens);
    }
  }
  return samples;
}

void add_calibrate(CLI::App& app, Action& action) {
  CLI::App* calibrate =
      app.add_subcommand("calibrate", "Measure what plans need to know of a model");
  calibrate->require_subcommand(1);
  auto options = std::make_shared<CalibrateOptions>();
  CLI::App* budget = calibrate->add_subcommand(
      "budget", "How much each head keeps of texts, as a plan with the budget 'calibrated'");
  options->model.add_to(*budget);
  budget->remove_option(budget->get_option("--kv"));
  budget->add_option("--selector", options->selector, "Selector and its parameters, as in a plan")
      ->capture_default_str();
  budget->add_option("--ratio", options->ratio, "Share of all tokens that is kept")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 1.0));
  budget->add_option("--alpha", options->alpha, "Deviations above the mean that a head may keep")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 10.0));
  budget->add_flag("--across-layers", options->across_layers,
                   "Share rows among all heads, not only those of a layer");
  options->samples.add_to(*budget);
  budget->add_option("--out", options->out, "The plan")->required();
  budget->footer(
      "Example:\n  skvis calibrate budget --selector snapkv --ratio 0.5 --text book.txt --out "
      "snapkv-50.json\n  skvis serve --kv snapkv-50.json");
  budget->callback(
      [options, &action] { action = [options] { return calibrate_budget(*options); }; });
  add_calibrate_gate(*calibrate, action);
  add_calibrate_filters(*calibrate, action);
  add_calibrate_heads(*calibrate, action);
}

}  // namespace skvis
