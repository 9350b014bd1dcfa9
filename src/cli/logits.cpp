// SPDX-License-Identifier: Apache-2.0
// `skvis logits`: what the model thinks after every token, for tests and comparisons.
#include "base/npy.hpp"
#include "cli/command.hpp"

namespace skvis {
namespace {

struct LogitsOptions {
  ModelOptions model;
  std::string ids;
  std::string out;
  uint32_t last = 0;  // 0: all
  uint32_t chunk = kPromptChunk;
};

Result<void> write_logits(const LogitsOptions& options) {
  SKVIS_TRY(const auto engine, start_engine(options.model));
  SKVIS_TRY(const auto ids, read_ids(options.ids, engine->vocabulary()));
  const auto count = static_cast<uint32_t>(ids.size());
  const uint32_t wanted = options.last > 0 ? std::min(options.last, count) : count;
  SKVIS_TRY(SequenceCache sequence, engine->open_sequence(count, count));
  SKVIS_TRY(NpyWriter writer, NpyWriter::create(options.out, wanted, engine->vocabulary()));
  ProgressBar bar("reading " + options.ids);
  std::vector<float> logits;
  // Slice by slice, so that the logits of a long text never lie in memory together.
  for (uint32_t done = 0; done < count;) {
    const uint32_t rows = sequence.slice(std::min(options.chunk, count - done));
    const uint32_t after = count - done - rows;
    const uint32_t logit_rows = after >= wanted ? 0 : std::min(rows, wanted - after);
    logits.resize(logit_rows * engine->vocabulary());
    const StepWork work{.sequence = &sequence,
                        .tokens = std::span(ids).subspan(done, rows),
                        .kind = RowKind::prompt,
                        .logits_rows = logit_rows,
                        .prompt_ends = after == 0,
                        .prompt = ids};
    SKVIS_CHECK(engine->step({&work, 1}, logits));
    if (!logits.empty()) SKVIS_CHECK(writer.append(logits));
    done += rows;
    bar.update(done, count);
  }
  return writer.finish();
}

}  // namespace

void add_logits(CLI::App& app, Action& action) {
  auto options = std::make_shared<LogitsOptions>();
  options->model.plan = "full";
  CLI::App* command = app.add_subcommand("logits", "Write the logits after every token of a text");
  options->model.add_to(*command);
  command->add_option("--ids", options->ids, "JSON array of token ids")->required();
  command->add_option("--out", options->out, "NumPy file: float32 [tokens, vocabulary]")
      ->required();
  command->add_option("--last", options->last, "Only the last N positions");
  command->add_option("--chunk", options->chunk, "Tokens per slice")
      ->capture_default_str()
      ->check(CLI::Range(1u, 65536u));
  command->footer(
      "Example:\n  skvis logits --model models/tiny --ids models/tiny/ids.json --out logits.npy");
  command->callback([options, &action] { action = [options] { return write_logits(*options); }; });
}

}  // namespace skvis
