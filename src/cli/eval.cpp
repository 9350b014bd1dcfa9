// SPDX-License-Identifier: Apache-2.0
// `skvis eval`: what a plan does to a text.
#include <fmt/core.h>

#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/eval.hpp"
#include "eval/kept.hpp"

namespace skvis {
namespace {

struct KeptOptions {
  ModelOptions model;
  std::string ids;
  std::string out;
  std::string against;
  std::string entry;
};

Result<KeptRows> read_other(const KeptOptions& options, const CacheShape& shape) {
  SKVIS_TRY(const std::string text, read_file(options.against, size_t{256} << 20));
  SKVIS_TRY(const Json json, parse_json(text, options.against));
  if (options.entry.empty()) return kept_from_json(json, options.against, shape);
  if (!json.is_object() || !json.contains(options.entry)) {
    return fail("{}: no entry '{}'", options.against, options.entry);
  }
  return kept_from_json(json[options.entry], options.against + ": " + options.entry, shape);
}

Result<void> show_kept(const KeptOptions& options) {
  SKVIS_TRY(const auto engine, start_engine(options.model));
  SKVIS_TRY(const auto ids, read_ids(options.ids, engine->vocabulary()));
  const CacheShape& shape = engine->plan().shape;
  KeptRows other;
  if (!options.against.empty()) {
    SKVIS_TRY(other, read_other(options, shape));
  }
  const auto count = static_cast<uint32_t>(ids.size());
  SKVIS_TRY(SequenceCache sequence, engine->open_sequence(count, count));
  ProgressBar bar("reading " + options.ids);
  SKVIS_CHECK(engine->read(sequence, ids, kPromptChunk, 0, {}, [&](size_t done, size_t total) {
    bar.update(done, total);
    return true;
  }));
  const KeptRows kept = kept_rows(sequence);
  const Json json = kept_to_json(kept, shape, count);
  if (!options.out.empty()) SKVIS_CHECK(write_file(options.out, dump_json(json) + "\n"));
  fmt::print("{} of {} rows kept, {} of {} bytes in use\n", json["kept_total"].get<size_t>(),
             size_t{count} * shape.heads(), engine->pool().figures().used,
             engine->layout().full_cache_bytes(count));
  if (options.against.empty()) return {};
  const Agreement same = agreement(kept, other);
  const HeadId worst = shape.head(same.worst_head);
  fmt::print("Jaccard index per head: {:.4f} on average, {:.4f} at worst (layer {}, head {})\n",
             same.mean, same.worst, worst.layer, worst.head);
  return {};
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  CLI::App* eval = app.add_subcommand("eval", "What a plan does to a text");
  eval->require_subcommand(1);
  auto options = std::make_shared<KeptOptions>();
  CLI::App* kept = eval->add_subcommand("kept", "Which tokens every head holds after a prompt");
  options->model.add_to(*kept);
  kept->add_option("--ids", options->ids, "JSON array of token ids")->required();
  kept->add_option("--json,--out", options->out, "Write positions of every head to this JSON file");
  kept->add_option("--against", options->against, "Compare with such a file");
  kept->add_option("--entry", options->entry, "The member of that file to compare with");
  kept->footer(
      "Example:\n  skvis eval kept --kv \"snapkv:0.5 settle=prompt\" --ids ids.json --out "
      "kept.json");
  kept->callback([options, &action] { action = [options] { return show_kept(*options); }; });
  add_eval_needle(*eval, action);
  add_eval_text(*eval, action);
}

}  // namespace skvis
