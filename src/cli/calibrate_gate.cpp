// SPDX-License-Identifier: Apache-2.0
// `skvis calibrate gate` and `skvis calibrate q-filters`: data files for selectors, and plans that
// name them.
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "base/file.hpp"
#include "cli/calibrate.hpp"
#include "eval/calibrate_gate.hpp"
#include "eval/query_filters.hpp"
#include "plan/data.hpp"

namespace skvis {
namespace {

using Texts = std::vector<std::vector<uint32_t>>;

struct GateOptions {
  ModelOptions model;
  SampleOptions samples{.samples = 12};
  std::vector<std::string> held_out;
  GateFit fit;
  double ratio = 0.5;
  std::string out;
  std::string json;
};

// The tokenizer, or why there is none.
Result<const Tokenizer*> tokenizer_of(const Engine& engine) {
  const LoadedModel& model = engine.model();
  if (!model.tokenizer) return fail("{}: {}", model.name, model.tokenizer_problem);
  return &*model.tokenizer;
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// The data file and, beside it, a plan that names it.
Result<void> write_plan(const std::filesystem::path& out, const NamedTensors& tensors, Json plan) {
  std::filesystem::path data = out;
  data.replace_extension(".safetensors");
  if (data == out) return fail("--out is the plan's name, expected it to end in .json");
  SKVIS_CHECK(write_selector_data(data, tensors));
  plan["keep"]["data"] = data.filename().string();
  SKVIS_CHECK(write_file(out.string(), plan.dump(1) + "\n"));
  fmt::print("written: {} and the plan {}; try: skvis plan {}\n", data.string(), out.string(),
             out.string());
  return {};
}

// The texts whose correlation is reported: their own files, or every eighth sample, at least one.
Result<Texts> take_held_out(const GateOptions& options, const Tokenizer& tokenizer, Texts& texts) {
  if (!options.held_out.empty()) {
    SampleOptions samples = options.samples;
    samples.texts = options.held_out;
    samples.samples = std::max<uint32_t>(static_cast<uint32_t>(options.held_out.size()),
                                         options.samples.samples / 4);
    return cut_samples(samples, tokenizer);
  }
  if (texts.size() < 2) return fail("one sample cannot be fitted and judged; give more --samples");
  Texts held_out, rest;
  for (size_t i = 0; i < texts.size(); ++i) {
    const bool last = i + 1 == texts.size() && held_out.empty();
    (i % 8 == 7 || last ? held_out : rest).push_back(std::move(texts[i]));
  }
  texts = std::move(rest);
  return held_out;
}

Json report_of(const GateOptions& options, const GateRows& rows, const GateQuality& quality,
               double seconds) {
  return {{"model", options.model.model},
          {"texts", options.samples.texts},
          {"held_out_texts", options.held_out},
          {"tokens", options.samples.tokens},
          {"rows", rows.rows},
          {"epochs", options.fit.epochs},
          {"batch", options.fit.batch},
          {"rate", options.fit.rate},
          {"seed", options.fit.seed},
          {"seconds", seconds},
          {"spearman", quality.all},
          {"spearman_layers", quality.layers},
          {"spearman_heads", quality.heads}};
}

void print_quality(const GateQuality& quality) {
  fmt::print("rank correlation with KVzip on held-out rows: {:.3f} over all heads together\n",
             quality.all);
  const auto [least, most] = std::minmax_element(quality.layers.begin(), quality.layers.end());
  const auto [low, high] = std::minmax_element(quality.heads.begin(), quality.heads.end());
  fmt::print("of a layer {:.3f} on average, {:.3f} to {:.3f}; of a head {:.3f}, {:.3f} to {:.3f}\n",
             mean_of(quality.layers), *least, *most, mean_of(quality.heads), *low, *high);
}

Result<void> calibrate_gate(GateOptions options) {
  const auto start = std::chrono::steady_clock::now();
  options.model.plan = "kvzip:1.0 settle=prompt";
  SKVIS_TRY(const auto engine, start_engine(options.model));
  SKVIS_TRY(const Tokenizer* tokenizer, tokenizer_of(*engine));
  SKVIS_TRY(Texts texts, cut_samples(options.samples, *tokenizer));
  SKVIS_TRY(const Texts held_out, take_held_out(options, *tokenizer, texts));
  const auto read = [&](const Texts& these, const char* what) {
    ProgressBar bar(what);
    return gate_rows(*engine, these, [&](size_t done, size_t all) { bar.update(done, all); });
  };
  SKVIS_TRY(const GateRows rows, read(texts, "reading twice"));
  SKVIS_TRY(const GateRows judged, read(held_out, "reading held-out texts"));
  std::vector<GateLayer> gates;
  {
    ProgressBar bar("fitting");
    gates = fit_gates(rows, options.fit, engine->threads(),
                      [&](size_t done, size_t all) { bar.update(done, all); });
  }
  const GateQuality quality = judge_gates(gates, judged, engine->threads());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{} texts of {} tokens, {} held out, {:.0f} s\n", texts.size(), options.samples.tokens,
             held_out.size(), seconds);
  print_quality(quality);
  if (!options.json.empty()) {
    SKVIS_CHECK(
        write_file(options.json, report_of(options, rows, quality, seconds).dump(1) + "\n"));
  }
  return write_plan(
      options.out, gate_tensors(gates),
      {{"name", fmt::format("gate-{:g}", options.ratio * 100)},
       {"description",
        fmt::format("What a gate fitted to KVzip on {} texts of {} tokens keeps at {:g}, shared "
                    "over all heads.",
                    texts.size(), options.samples.tokens, options.ratio)},
       {"source", "Fast KVzip; KVzip (arXiv 2505.23416)."},
       {"sinks", 4},
       {"recent", 32},
       {"settle", SettleRule{}.step},
       {"keep",
        {{"selector", "gate"},
         {"ratio", options.ratio},
         {"budget", "cross-layer"},
         {"safeguard", 0}}}});
}

struct FilterOptions {
  ModelOptions model;
  SampleOptions samples{.samples = 8};
  double ratio = 0.5;
  std::string out;
  std::string json;
};

Result<void> calibrate_filters(FilterOptions options) {
  options.model.plan = "h2o:1.0 settle=prompt";
  SKVIS_TRY(const auto engine, start_engine(options.model));
  SKVIS_TRY(const Tokenizer* tokenizer, tokenizer_of(*engine));
  SKVIS_TRY(const Texts texts, cut_samples(options.samples, *tokenizer));
  ProgressBar bar("reading");
  SKVIS_TRY(const QueryFilters filters,
            query_filters(*engine, texts, [&](size_t done, size_t all) { bar.update(done, all); }));
  bar.clear();
  const auto [least, most] =
      std::minmax_element(filters.correlations.begin(), filters.correlations.end());
  fmt::print(
      "{} texts of {} tokens; rank correlation of a head's scores with the attention received "
      "{:.3f} on average, {:.3f} to {:.3f}\n",
      texts.size(), options.samples.tokens, mean_of(filters.correlations), *least, *most);
  if (!options.json.empty()) {
    const Json report = {{"model", options.model.model},
                         {"texts", options.samples.texts},
                         {"tokens", options.samples.tokens},
                         {"spearman_heads", filters.correlations},
                         {"energy", filters.energy}};
    SKVIS_CHECK(write_file(options.json, report.dump(1) + "\n"));
  }
  const CacheShape& shape = engine->plan().shape;
  NamedTensors tensors;
  tensors["q_filters"] = {{shape.layers, shape.kv_heads, shape.head_dim}, filters.directions};
  return write_plan(
      options.out, tensors,
      {{"name", fmt::format("q-filters-{:g}", options.ratio * 100)},
       {"description",
        fmt::format("Keys along the main direction of the queries of {} texts.", texts.size())},
       {"source", "Q-Filters (arXiv 2503.02812)."},
       {"sinks", 4},
       {"recent", 32},
       {"settle", SettleRule{}.step},
       {"keep", {{"selector", "q-filters"}, {"ratio", options.ratio}}}});
}

template <typename Options>
void add_common(CLI::App& app, Options& options) {
  options.model.add_to(app);
  app.remove_option(app.get_option("--kv"));
  options.samples.add_to(app);
  app.add_option("--ratio", options.ratio, "Share of all tokens that the plan keeps")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 1.0));
  app.add_option("--json", options.json, "Write what was measured to this file");
  app.add_option("--out", options.out, "The plan, .json; its data lies beside it")->required();
}

}  // namespace

void add_calibrate_gate(CLI::App& calibrate, Action& action) {
  auto options = std::make_shared<GateOptions>();
  CLI::App* gate =
      calibrate.add_subcommand("gate", "Fit gates to KVzip, as data and plan of selector 'gate'");
  add_common(*gate, *options);
  gate->add_option("--held-out", options->held_out,
                   "Texts whose correlation is reported; else every eighth sample");
  gate->add_option("--epochs", options->fit.epochs, "How often every row is seen")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1000u));
  gate->add_option("--batch", options->fit.batch, "Rows of a step")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 16));
  gate->add_option("--rate", options->fit.rate, "The first step's learning rate")
      ->capture_default_str()
      ->check(CLI::Range(1e-6, 1.0));
  gate->add_option("--seed", options->fit.seed, "Of the first weights and the order of rows")
      ->capture_default_str();
  gate->footer(
      "Example:\n  skvis calibrate gate --text a.txt b.txt --held-out c.txt --out gate.json\n"
      "  skvis serve --kv gate.json");
  gate->callback([options, &action] { action = [options] { return calibrate_gate(*options); }; });
}

void add_calibrate_filters(CLI::App& calibrate, Action& action) {
  auto options = std::make_shared<FilterOptions>();
  CLI::App* filters = calibrate.add_subcommand(
      "q-filters", "Measure main directions of queries, as data and plan of selector 'q-filters'");
  add_common(*filters, *options);
  filters->footer("Example:\n  skvis calibrate q-filters --text a.txt --out q-filters.json");
  filters->callback(
      [options, &action] { action = [options] { return calibrate_filters(*options); }; });
}

}  // namespace skvis
