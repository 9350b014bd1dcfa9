// SPDX-License-Identifier: Apache-2.0
// `skvis bench attention|dense|decode|select|split|paging|multiturn|grammar`.
#include "bench/bench.hpp"

#include <charconv>
#include <optional>

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "bench/multiturn.hpp"
#include "bench/paging.hpp"
#include "cli/command.hpp"
#include "kernels/table.hpp"
#include "model/cache_shape.hpp"
#include "text/load_tokenizer.hpp"

namespace skvis {
namespace {

struct BenchOptions {
  ModelOptions model;
  AttentionBench attention;
  DenseBench dense;
  DecodeBench decode;
  SelectBench select;
  SplitBench split;
  GrammarBench grammar;
  std::string tokenizer;
  PagingBench paging;
  std::string shape;
  MultiturnBench multiturn;
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

Result<void> run_select(BenchOptions& options) {
  options.model.plan = "full";
  SKVIS_TRY(const auto engine, start_engine(options.model));
  SKVIS_TRY(const Json report, bench_select(*engine, options.select));
  return finish(options, report);
}

Result<void> run_split(const BenchOptions& options) {
  SKVIS_TRY(const Json report, bench_split(options.split));
  return finish(options, report);
}

Result<void> run_grammar(const BenchOptions& options) {
  const auto measure = [&](const Tokenizer& tokenizer) -> Result<void> {
    SKVIS_TRY(const Json report, bench_grammar(tokenizer, options.grammar));
    return finish(options, report);
  };
  if (!options.tokenizer.empty()) {
    SKVIS_TRY(const Tokenizer tokenizer, load_tokenizer(options.tokenizer));
    return measure(tokenizer);
  }
  SKVIS_TRY(const auto path, find_model(options.model.model));
  SKVIS_TRY(const ModelFiles files, ModelFiles::open(path));
  const ModelText text = load_text(files);
  if (!text.tokenizer) return fail("{}: {}", options.model.model, text.tokenizer_problem);
  return measure(*text.tokenizer);
}

void add_grammar(CLI::App& bench, Action& action, const std::shared_ptr<BenchOptions>& options) {
  CLI::App* command = bench.add_subcommand("grammar", "Token masks of documents under schemas");
  command->add_option("--json", options->json, "Also write the figures to this file");
  command->add_option("-m,--model", options->model.model, "Whose tokenizer")->capture_default_str();
  command->add_option("--tokenizer", options->tokenizer,
                      "A folder with tokenizer.json, in place of a model's");
  command->add_option("--repeats", options->grammar.repeats, "Passes per document")
      ->capture_default_str()
      ->check(CLI::Range(1u, 10000u));
  command->footer("Example:\n  skvis bench grammar --tokenizer tests/data/tokenizers/qwen2.5");
  command->callback([options, &action] { action = [options] { return run_grammar(*options); }; });
}

// "16x8": layers and KV heads of each.
Result<void> read_shape(const std::string& text, PagingBench& paging) {
  const size_t cross = text.find('x');
  const auto number = [](std::string_view digits) {
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size() && value <= 4096 ? value
                                                                                         : 0;
  };
  if (cross != text.npos) {
    paging.layers = number(std::string_view(text).substr(0, cross));
    paging.kv_heads = number(std::string_view(text).substr(cross + 1));
  }
  if (paging.layers > 0 && paging.kv_heads > 0) return {};
  return fail("--shape '{}': expected layers and KV heads, such as 16x8, at most 4096 each", text);
}

Result<void> run_paging(BenchOptions& options) {
  if (!options.shape.empty()) SKVIS_CHECK(read_shape(options.shape, options.paging));
  SKVIS_TRY(const auto path, find_model(options.model.model));
  SKVIS_TRY(const ModelFiles files, ModelFiles::open(path));
  SKVIS_TRY(const Plan plan, resolve_plan(options.model.plan, cache_shape(files.config())));
  SKVIS_TRY(const Json report, bench_paging(plan, options.paging));
  return finish(options, report);
}

Result<void> run_multiturn(BenchOptions& options) {
  MultiturnBench& bench = options.multiturn;
  if (!options.model.kv_memory.empty()) {
    SKVIS_TRY(bench.kv_memory, parse_bytes(options.model.kv_memory, "--kv-memory"));
  }
  options.model.plan = bench.plans.front();
  SKVIS_TRY(const auto engine, start_engine(options.model));
  std::optional<ProgressBar> bar;
  std::string_view shown;
  const auto progress = [&](std::string_view what, size_t done, size_t total) {
    if (!bar || what != shown || done == 0) bar.emplace(std::string(shown = what));
    bar->update(done, total);
    if (done == total) bar.reset();
  };
  SKVIS_TRY(const Json report, bench_multiturn(*engine, bench, progress));
  return finish(options, report);
}

void add_multiturn(CLI::App& bench, Action& action, const std::shared_ptr<BenchOptions>& options) {
  CLI::App* command = bench.add_subcommand(
      "multiturn", "Conversations of several turns that share one KV memory, plan by plan");
  options->model.add_to(*command);
  command->remove_option(command->get_option("--kv"));
  MultiturnBench& workload = options->multiturn;
  command->add_option("--json", options->json, "Also write the figures to this file");
  command
      ->add_option("--plans", workload.plans,
                   "KV plans, one after the other; ratios are to the first")
      ->delimiter(',')
      ->capture_default_str();
  const auto count = [&](const char* name, uint32_t& value, const char* text, uint32_t least) {
    command->add_option(name, value, text)
        ->capture_default_str()
        ->check(CLI::Range(least, 1u << 20));
  };
  count("--conversations", workload.conversations, "Clients, each with one conversation", 1);
  count("--turns", workload.turns, "Requests of a conversation", 1);
  count("--context", workload.context, "Tokens before the first turn", 0);
  count("--new", workload.fresh, "Tokens that each turn adds to the prompt", 1);
  count("--answer", workload.answer, "Tokens that each turn generates", 2);
  count("--full-sequences", workload.full_sequences,
        "Without --kv-memory: room for so many conversations under the plan 'full'", 1);
  command->add_flag("--decode-only", workload.decode_only, "Leave out the whole run");
  command->footer(
      "Example:\n  skvis bench multiturn --plans full,snapkv-50,plan.json --json multiturn.json");
  command->callback([options, &action] { action = [options] { return run_multiturn(*options); }; });
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

  CLI::App* select = bench->add_subcommand("select", "What selectors cost, beside streaming");
  common(select);
  options->model.add_to(*select);
  select->remove_option(select->get_option("--kv"));
  select->add_option("--plans", options->select.plans, "Plans (default: every selector)")
      ->delimiter(',');
  select->add_option("--ratio", options->select.ratio, "Share that the default plans keep")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 1.0));
  select->add_option("--context", options->select.context, "Tokens of the prompt")
      ->capture_default_str()
      ->check(CLI::Range(16u, 1u << 20));
  select->add_option("--steps", options->select.steps, "Tokens to generate")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  select->footer("Example:\n  skvis bench select --context 4096");
  select->callback([options, &action] { action = [options] { return run_select(*options); }; });

  CLI::App* split = bench->add_subcommand("split", "Attention split over workers by a table");
  common(split);
  split->add_option("--tokens", options->split.tokens, "Tokens of which heads keep shares")
      ->capture_default_str()
      ->check(CLI::Range(64u, 1u << 20));
  split->add_option("--repeats", options->split.repeats, "Passes per case")
      ->capture_default_str()
      ->check(CLI::Range(1u, 10000u));
  split->add_option("-t,--threads", options->split.threads, "Threads");
  split->footer("Example:\n  skvis bench split --tokens 8192");
  split->callback([options, &action] { action = [options] { return run_split(*options); }; });

  CLI::App* paging = bench->add_subcommand("paging", "What heads would waste if they shared pages");
  common(paging);
  paging->add_option("-m,--model", options->model.model, "For which model")->capture_default_str();
  paging->add_option("--kv", options->model.plan, "The plan, best with budgets of heads")
      ->required();
  paging->add_option("--tokens", options->paging.tokens, "Prompt lengths")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(256u, 1u << 20));
  paging->add_option("--shape", options->shape,
                     "Draw the plan's heads for another shape: layers x KV heads, such as 16x8");
  paging->footer("Example:\n  skvis bench paging --kv snapkv-50.json --shape 16x8");
  paging->callback([options, &action] { action = [options] { return run_paging(*options); }; });
  add_multiturn(*bench, action, options);
  add_grammar(*bench, action, options);
}

}  // namespace skvis
