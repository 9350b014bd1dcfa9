// SPDX-License-Identifier: Apache-2.0
// `skvis calibrate duo|entropy`: scores of heads, as plans with the budgets that read them.
#include <fmt/core.h>

#include <algorithm>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "cli/calibrate.hpp"
#include "eval/head_scores.hpp"
#include "kernels/table.hpp"

namespace skvis {
namespace {

// Samples of `entropy` lie in memory as floats, all layers' queries at once.
constexpr uint32_t kMostEntropyTokens = 16384;

struct HeadOptions {
  ModelOptions model;
  SampleOptions samples;
  std::string out;
  double retrieval = 0.5;
  uint32_t sinks = 64;
  uint32_t recent = 256;
  std::string selector = "snapkv";
  double ratio = 0.5;
  uint32_t groups = 2;
  double spread = 1.0 / 3;
};

Result<std::unique_ptr<QueryReader>> open_reader(const ModelOptions& options) {
  SKVIS_CHECK(set_up_log(options.log_level));
  if (!options.kernels.empty()) SKVIS_CHECK(kernels::force_level(options.kernels));
  ProgressBar bar("loading " + options.model);
  const auto progress = [&](size_t done, size_t total) { bar.update(done, total); };
  const DenseMode mode = options.precise ? DenseMode::precise : DenseMode::fast;
  SKVIS_TRY(auto reader, QueryReader::open(options.model, {.mode = mode, .progress = progress},
                                           options.threads));
  if (!reader->model().tokenizer) {
    return fail("{}: {}", options.model, reader->model().tokenizer_problem);
  }
  return reader;
}

Result<void> write_plan(Json plan, const HeadOptions& options, std::string name, std::string text,
                        std::string_view source, const CacheShape& shape) {
  plan["name"] = std::move(name);
  plan["description"] = std::move(text);
  plan["source"] = source;
  SKVIS_CHECK(resolve_plan(dump_json(plan), shape));
  SKVIS_CHECK(write_file(options.out, plan.dump(1) + "\n"));
  fmt::print("plan written to {}; try: skvis plan {}\n", options.out, options.out);
  return {};
}

void print_profile(const BudgetProfile& profile, const HeadOptions& options, size_t samples) {
  const auto [least, most] = std::minmax_element(profile.mean.begin(), profile.mean.end());
  fmt::print(
      "{} samples of {} tokens; scores of heads {:.3f} to {:.3f}, deviation {:.3f} at most\n",
      samples, options.samples.tokens, *least, *most,
      *std::max_element(profile.deviation.begin(), profile.deviation.end()));
  fmt::print("rank correlation of a sample with the mean {:.3f}, {:.3f} at worst\n",
             profile.correlation_mean, profile.correlation_worst);
}

Result<void> calibrate_duo(const HeadOptions& options) {
  SKVIS_TRY(const auto reader, open_reader(options.model));
  const CacheShape& shape = reader->shape();
  SKVIS_TRY(const Plan base, resolve_plan(fmt::format("keep=streaming:1.0 sinks={} recent={}",
                                                      options.sinks, options.recent),
                                          shape));
  SKVIS_TRY(const auto samples, cut_samples(options.samples, *reader->model().tokenizer));
  ProgressBar bar("calibrating");
  SKVIS_TRY(
      const AreaProfile profile,
      measure_areas(*reader, samples, [&](size_t done, size_t all) { bar.update(done, all); }));
  print_profile(profile_of(profile.by_sample), options, samples.size());
  return write_plan(
      scored_plan(base, "classes", profile.areas, {{"retrieval", options.retrieval}}), options,
      fmt::format("duo-{:g}", options.retrieval * 100),
      fmt::format("Heads that look far back keep every row, {:g} of them; the others {} sinks and "
                  "{} recent rows. Scored on {} samples of {} tokens.",
                  options.retrieval, options.sinks, options.recent, samples.size(),
                  options.samples.tokens),
      "DuoAttention (arXiv 2410.10819), scored from mean queries and keys.", shape);
}

Result<void> calibrate_entropy(const HeadOptions& options) {
  if (options.samples.tokens > kMostEntropyTokens) {
    return fail("--tokens {}: expected at most {}, since all queries of a sample are held at once",
                options.samples.tokens, kMostEntropyTokens);
  }
  SKVIS_TRY(const auto reader, open_reader(options.model));
  const CacheShape& shape = reader->shape();
  SKVIS_TRY(const Plan base,
            resolve_plan(fmt::format("keep={} ratio={}", options.selector, options.ratio), shape));
  SKVIS_TRY(const auto samples, cut_samples(options.samples, *reader->model().tokenizer));
  ProgressBar bar("calibrating");
  SKVIS_TRY(
      const HeadShares entropies,
      measure_entropies(*reader, samples, [&](size_t done, size_t all) { bar.update(done, all); }));
  print_profile(profile_of(entropies), options, samples.size());
  const std::vector<double> votes = group_votes(entropies, shape, options.groups);
  const auto agreed = std::count_if(votes.begin(), votes.end(),
                                    [](double vote) { return vote <= 0.1 || vote >= 0.9; });
  fmt::print("{} of {} heads are in the first or the last group of nine samples in ten\n", agreed,
             votes.size());
  return write_plan(
      scored_plan(base, "entropy", votes, {{"groups", options.groups}, {"spread", options.spread}}),
      options, fmt::format("entropy-{:g}", options.ratio * 100),
      fmt::format("Heads of a layer in {} groups by the entropy of their queries, as {} samples of "
                  "{} tokens voted.",
                  options.groups, samples.size(), options.samples.tokens),
      "UNComp (arXiv 2410.03090).", shape);
}

void add_common(CLI::App& app, HeadOptions& options) {
  options.model.add_to(app);
  for (const char* name : {"--kv", "--kv-memory", "--ctx-size"}) {
    app.remove_option(app.get_option(name));
  }
  options.samples.add_to(app);
  app.add_option("--out", options.out, "The plan")->required();
}

}  // namespace

void add_calibrate_heads(CLI::App& calibrate, Action& action) {
  auto duo_options = std::make_shared<HeadOptions>();
  CLI::App* duo = calibrate.add_subcommand(
      "duo", "How far back each head looks, as a plan with the budget 'classes'");
  add_common(*duo, *duo_options);
  duo->add_option("--retrieval", duo_options->retrieval, "Share of heads that keep every row")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  duo->add_option("--sinks", duo_options->sinks, "First rows that the others keep")
      ->capture_default_str()
      ->check(CLI::Range(0u, kPageSlots));
  duo->add_option("--recent", duo_options->recent, "Newest rows that the others keep")
      ->capture_default_str()
      ->check(CLI::Range(0u, 1u << 20));
  duo->footer(
      "Example:\n  skvis calibrate duo --retrieval 0.5 --text book.txt --out duo.json\n  skvis "
      "serve --kv duo.json");
  duo->callback(
      [duo_options, &action] { action = [duo_options] { return calibrate_duo(*duo_options); }; });

  auto options = std::make_shared<HeadOptions>();
  CLI::App* entropy = calibrate.add_subcommand(
      "entropy",
      "How many directions each head's queries use, as a plan with the budget 'entropy'");
  add_common(*entropy, *options);
  entropy->add_option("--selector", options->selector, "Selector and its parameters, as in a plan")
      ->capture_default_str();
  entropy->add_option("--ratio", options->ratio, "Share of the tokens that heads keep on average")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 1.0));
  entropy->add_option("--groups", options->groups, "Groups of heads in a layer")
      ->capture_default_str()
      ->check(CLI::Range(1u, 64u));
  entropy
      ->add_option("--spread", options->spread, "How much more than the mean the first group keeps")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  entropy->footer(
      "Example:\n  skvis calibrate entropy --selector snapkv --ratio 0.5 --text book.txt --out "
      "entropy-50.json\n  skvis serve --kv entropy-50.json");
  entropy->callback(
      [options, &action] { action = [options] { return calibrate_entropy(*options); }; });
}

}  // namespace skvis
