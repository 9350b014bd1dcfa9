// SPDX-License-Identifier: Apache-2.0
// `skvis bench attention|dense|decode`.
#include "bench/bench.hpp"

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "cli/command.hpp"
#include "kernels/table.hpp"

namespace skvis {
namespace {

struct BenchOptions {
  ModelOptions model;
  AttentionBench attention;
  DenseBench dense;
  DecodeBench decode;
  std::string bytes = "256MiB";
  std::string kernels;
  std::string json;
};

Result<void> finish(const BenchOptions& options, const Json& report) {
  if (options.json.empty()) return {};
  return write_file(options.json, dump_json(report, 2) + "\n");
}

Result<void> run_attention(BenchOptions& options) {
  if (!options.kernels.empty()) SKVIS_CHECK(kernels::force_level(options.kernels));
  SKVIS_TRY(options.attention.bytes, parse_bytes(options.bytes, "--bytes"));
  SKVIS_TRY(const Json report, bench_attention(options.attention));
  return finish(options, report);
}

Result<void> run_dense(BenchOptions& options) {
  if (!options.kernels.empty()) SKVIS_CHECK(kernels::force_level(options.kernels));
  SKVIS_TRY(const Json report, bench_dense(options.dense));
  return finish(options, report);
}

Result<void> run_decode(const BenchOptions& options) {
  SKVIS_TRY(const auto engine, start_engine(options.model));
  SKVIS_TRY(const Json report, bench_decode(*engine, options.decode));
  return finish(options, report);
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* bench = app.add_subcommand("bench", "Measure speed against memory bandwidth");
  bench->require_subcommand(1);
  const auto common = [&](CLI::App* command) {
    command->add_option("--json", options->json, "Also write the figures to this file");
  };

  CLI::App* attention = bench->add_subcommand("attention", "Decode attention over each code");
  common(attention);
  AttentionBench& cases = options->attention;
  attention->add_option("--codes", cases.codes, "Codes for keys and values")
      ->delimiter(',')
      ->capture_default_str();
  attention->add_option("--head-dims", cases.head_dims, "Head sizes")
      ->delimiter(',')
      ->capture_default_str();
  attention->add_option("--groups", cases.groups, "Query heads per KV head")
      ->delimiter(',')
      ->capture_default_str();
  attention->add_option("--bytes", options->bytes, "Encoded bytes per pass, at least")
      ->capture_default_str();
  attention->add_option("--repeats", cases.repeats, "Passes per case")->capture_default_str();
  attention->add_option("-t,--threads", cases.threads, "Threads");
  attention->add_option("--kernels", options->kernels, "Force a kernel level");
  attention->footer("Example:\n  skvis bench attention --codes int8 --kernels avx2");
  attention->callback(
      [options, &action] { action = [options] { return run_attention(*options); }; });

  CLI::App* dense = bench->add_subcommand("dense", "Products with weights, one row and many");
  common(dense);
  dense->add_option("--repeats", options->dense.repeats, "Passes per case")->capture_default_str();
  dense->add_option("-t,--threads", options->dense.threads, "Threads");
  dense->add_option("--kernels", options->kernels, "Force a kernel level");
  dense->footer("Example:\n  skvis bench dense --json dense.json");
  dense->callback([options, &action] { action = [options] { return run_dense(*options); }; });

  CLI::App* decode = bench->add_subcommand("decode", "Whole steps of a model, several sequences");
  common(decode);
  options->model.add_to(*decode);
  decode->add_option("--sequences", options->decode.sequences, "Sequences that decode together")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1024u));
  decode->add_option("--context", options->decode.context, "Tokens of the longest sequence")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 24));
  decode->add_option("--steps", options->decode.steps, "Tokens to generate for each")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  decode->footer("Example:\n  skvis bench decode --sequences 4 --context 4096 --kv int8");
  decode->callback([options, &action] { action = [options] { return run_decode(*options); }; });
}

}  // namespace skvis
