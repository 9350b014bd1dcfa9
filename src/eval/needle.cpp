// SPDX-License-Identifier: Apache-2.0
#include "eval/needle.hpp"

#include <xxhash.h>

#include <algorithm>
#include <optional>

#include "engine/sampler.hpp"

namespace skvis {
namespace {

constexpr std::string_view kWhat = "needle";

// Everything that a cell's result depends on beside its plan and number.
Json settings_of(const ComparedPlans& plans, const NeedleRun& run, const std::string& filler) {
  const NeedleSettings& settings = run.settings;
  return Json{{"model", plans.baseline().engine->model().name},
              {"context", settings.context},
              {"turns", settings.turns},
              {"depths", settings.depths},
              {"seed", settings.seed},
              {"new_tokens", run.new_tokens},
              {"filler", fmt::format("{:016x}", XXH3_64bits(filler.data(), filler.size()))}};
}

// Counts cells; ticks in between show that something happens.
class Progress {
 public:
  Progress(const std::function<void(size_t, size_t)>& show, size_t total)
      : show_(show), total_(total) {}
  void tick() const {
    if (show_) show_(done_, total_);
  }
  void cell_done() {
    ++done_;
    tick();
  }

 private:
  const std::function<void(size_t, size_t)>& show_;
  size_t total_;
  size_t done_ = 0;
};

// One conversation under one plan.
class Conversation {
 public:
  Conversation(const ComparedPlan& plan, const NeedlePrompt& prompt, uint32_t new_tokens,
               const Progress& progress)
      : engine_(*plan.engine), prompt_(prompt), new_tokens_(new_tokens), progress_(progress) {}

  // Reads what is not in the cache yet of each turn, asks, and notes the results in `cell`. `read`
  // holds the rows of the first prompt but its last, all exact, or is null.
  Result<void> run(const SequenceCache* read, Json& cell) {
    const auto first = static_cast<uint32_t>(prompt_.turns[0].tokens.size());
    capacity_ = prompt_.tokens() + new_tokens_;
    SKVIS_TRY(SequenceCache sequence, engine_.open_sequence(first, capacity_));
    if (read != nullptr) SKVIS_CHECK(sequence.adopt_exact(*read));
    Json turns = Json::array();
    double right = 0;
    std::vector<uint32_t> all;  // tokens of the turns so far
    for (size_t i = 0; i < prompt_.turns.size(); ++i) {
      const NeedleTurn& turn = prompt_.turns[i];
      const size_t skip = i == 0 ? sequence.committed() : 0;
      all.insert(all.end(), turn.tokens.begin(), turn.tokens.end());
      std::vector<float> logits(engine_.vocabulary());
      const auto tick = [&](size_t, size_t) {
        progress_.tick();
        return true;
      };
      SKVIS_CHECK(engine_.read(sequence, std::span(turn.tokens).subspan(skip), kPromptChunk, 1,
                               logits, tick, all));
      if (i == 0) note_size(sequence, cell);
      SKVIS_TRY(const std::string answer, ask(sequence, logits, i + 1 == prompt_.turns.size()));
      const bool found = answer.find(turn.number) != std::string::npos;
      right += found ? 1 : 0;
      turns.push_back({{"right", found},
                       {"key", turn.key},
                       {"number", turn.number},
                       {"answer", answer},
                       {"depth", turn.depth},
                       {"position", turn.position}});
    }
    cell["right"] = right / static_cast<double>(prompt_.turns.size());
    cell["asked"] = std::move(turns);
    return {};
  }

 private:
  void note_size(const SequenceCache& sequence, Json& cell) const {
    const SequenceBytes bytes = sequence.bytes();
    const uint32_t tokens = sequence.committed();
    const uint32_t settled = sequence.open_begin();
    cell["tokens"] = tokens;
    cell["settled"] = settled;  // rows below were judged or encoded
    cell["kv_bytes"] = bytes.pages;
    cell["row_bytes"] = bytes.rows;
    cell["full_bytes"] = engine_.layout().full_cache_bytes(tokens);
    cell["rows_share"] = static_cast<double>(sequence.rows_held()) /
                         (static_cast<double>(engine_.plan().shape.heads()) * tokens);
  }

  // The best tokens after a prompt. Only the last turn's may stay in the cache: between turns the
  // right answer stands, and comes with the next prompt.
  Result<std::string> ask(SequenceCache& sequence, std::vector<float>& logits, bool last) {
    if (last) return answer(sequence, logits);
    Pool& pool = engine_.pool();
    const auto first = static_cast<uint32_t>(prompt_.turns[0].tokens.size());
    const ReservationId reservation = pool.reserve(engine_.layout().worst_case(first, capacity_));
    if (reservation == kUnreserved) {
      return fail(
          "KV memory is too small for two sequences of {} tokens, which several turns take;"
          " give more --kv-memory",
          capacity_);
    }
    SKVIS_TRY(SequenceCache fork, sequence.fork(reservation));
    return answer(fork, logits);
  }

  Result<std::string> answer(SequenceCache& sequence, std::vector<float>& logits) {
    const std::vector<uint32_t>& ends = engine_.model().end_ids;
    std::vector<uint32_t> tokens;
    for (uint32_t i = 0; i < new_tokens_; ++i) {
      const uint32_t next = argmax(logits);
      if (std::find(ends.begin(), ends.end(), next) != ends.end()) break;
      tokens.push_back(next);
      if (i + 1 == new_tokens_) break;
      const StepWork work{.sequence = &sequence,
                          .tokens = {&next, 1},
                          .kind = RowKind::generated,
                          .logits_rows = 1};
      SKVIS_CHECK(engine_.step({&work, 1}, logits));
    }
    return engine_.model().tokenizer->decode(tokens, {.continues = true});
  }

  Engine& engine_;
  const NeedlePrompt& prompt_;
  uint32_t new_tokens_;
  const Progress& progress_;
  uint32_t capacity_ = 0;
};

// Plans whose exact rows are the same until the prompt's end.
bool reads_alike(const ComparedPlan& a, const ComparedPlan& b) {
  const auto adopts = [](const ComparedPlan& plan) {
    const CacheLayout& layout = plan.engine->layout();
    return plan.settles_at_prompt_end_only() && !layout.notes_every_row() && !layout.filters_rows();
  };
  return adopts(a) && adopts(b) && &a.engine->model() == &b.engine->model() &&
         a.kernels == b.kernels && a.plan().exact_type == b.plan().exact_type;
}

// Reads the first prompt but its last token, which settles, under the plan of `readers` that
// observes most.
Result<SequenceCache> read_exact(std::span<const ComparedPlan* const> readers,
                                 const NeedlePrompt& prompt, const Progress& progress) {
  const ComparedPlan& reader = **std::max_element(
      readers.begin(), readers.end(), [](const ComparedPlan* a, const ComparedPlan* b) {
        return a->engine->layout().observe() < b->engine->layout().observe();
      });
  Engine& engine = *reader.engine;
  const auto tokens = std::span(prompt.turns[0].tokens);
  const auto count = static_cast<uint32_t>(tokens.size());
  SKVIS_TRY(SequenceCache sequence, engine.open_sequence(count, count));
  for (uint32_t done = 0; done + 1 < count;) {
    const uint32_t rows = std::min(kPromptChunk, count - 1 - done);
    const StepWork work{.sequence = &sequence, .tokens = tokens.subspan(done, rows)};
    SKVIS_CHECK(engine.step({&work, 1}, {}));
    progress.tick();
    done += rows;
  }
  return sequence;
}

// All plans of one prompt that have no cell yet.
Result<void> run_prompt(std::vector<const ComparedPlan*> missing, const NeedleRun& run,
                        const std::string& filler, const Json& settings, uint32_t number,
                        CellFile& cells, Progress& progress) {
  const LoadedModel& model = missing.front()->engine->model();
  SKVIS_TRY(const NeedlePrompt prompt, make_needle_prompt(model, run.settings, filler, number));
  while (!missing.empty()) {
    const ComparedPlan& first = *missing.front();
    const auto alike = std::stable_partition(
        missing.begin(), missing.end(),
        [&](const ComparedPlan* plan) { return plan == &first || reads_alike(first, *plan); });
    const std::span group(missing.begin(), alike);
    const PlanKernels kernels(first);
    std::optional<SequenceCache> read;
    if (group.size() > 1) {
      SKVIS_TRY(SequenceCache exact, read_exact(group, prompt, progress));
      read.emplace(std::move(exact));
    }
    for (const ComparedPlan* plan : group) {
      Json cell = cell_begin(kWhat, settings, *plan, number, run.settings.context);
      SKVIS_CHECK(
          Conversation(*plan, prompt, run.new_tokens, progress).run(read ? &*read : nullptr, cell));
      SKVIS_CHECK(cells.add(std::move(cell)));
      progress.cell_done();
    }
    missing.erase(missing.begin(), alike);
  }
  return {};
}

Result<NeedleSummary> summarise(std::span<const Json* const> cells, uint32_t turns,
                                std::vector<double>& right) {
  NeedleSummary sum{.per_turn = std::vector<double>(turns)};
  const auto count = static_cast<double>(cells.size());
  for (const Json* cell : cells) {
    const std::string where = (*cell)["cell"].get<std::string>();
    const auto number = [&](const char* key, double most) {
      return json_number(*cell, key, where, 0, most);
    };
    SKVIS_TRY(const double share, number("right", 1));
    SKVIS_TRY(const double kv_bytes, number("kv_bytes", 1e15));
    SKVIS_TRY(const double row_bytes, number("row_bytes", 1e15));
    SKVIS_TRY(const double full_bytes, number("full_bytes", 1e15));
    SKVIS_TRY(const double rows_share, number("rows_share", 1));
    SKVIS_TRY(const double nominal, number("nominal", 1));
    right.push_back(share);
    sum.kv_bytes += kv_bytes / count;
    sum.row_bytes += row_bytes / count;
    sum.full_bytes += full_bytes / count;
    sum.rows_share += rows_share / count;
    sum.nominal = nominal;
    const Json asked = cell->value("asked", Json::array());
    if (!asked.is_array() || asked.size() != turns) {
      return fail("{}: 'asked' is no array of {} turns", where, turns);
    }
    for (uint32_t i = 0; i < turns; ++i) {
      SKVIS_TRY(const bool found, json_bool_or(asked[i], "right", where, false));
      SKVIS_TRY(const std::string answer, json_string(asked[i], "answer", where));
      SKVIS_TRY(const std::string expected, json_string(asked[i], "number", where));
      sum.per_turn[i] += found ? 1 / count : 0;
      sum.digits += leading_digits(answer, expected) / (count * turns);
    }
  }
  sum.right = estimate(right);
  return sum;
}

}  // namespace

uint32_t leading_digits(std::string_view answer, std::string_view number) {
  answer.remove_prefix(std::min(answer.find_first_of("0123456789"), answer.size()));
  const auto [end, unused] =
      std::mismatch(number.begin(), number.end(), answer.begin(), answer.end());
  return static_cast<uint32_t>(end - number.begin());
}

Result<std::vector<NeedleSummary>> run_needles(
    const ComparedPlans& plans, const NeedleRun& run, const std::string& filler, CellFile& cells,
    const std::function<void(size_t, size_t)>& progress) {
  const Json settings = settings_of(plans, run, filler);
  Progress counted(progress, plans.all().size() * run.prompts);
  for (uint32_t number = 0; number < run.prompts; ++number) {
    std::vector<const ComparedPlan*> missing;
    for (const ComparedPlan& plan : plans.all()) {
      if (cells.find(cell_name(kWhat, settings, plan, number)) == nullptr) {
        missing.push_back(&plan);
      } else {
        counted.cell_done();
      }
    }
    if (missing.empty()) continue;
    SKVIS_CHECK(run_prompt(std::move(missing), run, filler, settings, number, cells, counted));
  }
  std::vector<NeedleSummary> summaries;
  std::vector<double> baseline;
  for (const ComparedPlan& plan : plans.all()) {
    std::vector<const Json*> found;
    for (uint32_t number = 0; number < run.prompts; ++number) {
      found.push_back(cells.find(cell_name(kWhat, settings, plan, number)));
    }
    std::vector<double> right;
    SKVIS_TRY(NeedleSummary summary, summarise(found, run.settings.turns, right));
    if (baseline.empty()) baseline = right;
    summary.difference = paired_difference(right, baseline);
    summaries.push_back(std::move(summary));
  }
  return summaries;
}

}  // namespace skvis
