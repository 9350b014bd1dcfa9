// SPDX-License-Identifier: Apache-2.0
// What selectors cost: the same prompt and the same generated tokens under each of them, against
// one that looks at nothing.
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

#include "bench/bandwidth.hpp"
#include "bench/bench.hpp"
#include "selectors/selector.hpp"

namespace skvis {
namespace {

// Where the time of a run goes, and what the selector holds at its end.
struct Cost {
  StepSeconds prompt;           // sum over its steps
  double decode_attention = 0;  // median of a step
  size_t side_bytes = 0;
};

void add(const StepSeconds& step, StepSeconds& sum) {
  sum.dense += step.dense;
  sum.attention += step.attention;
  sum.settle += step.settle;
}

size_t side_bytes(Engine& engine, const SequenceCache& sequence) {
  const CacheLayout& layout = engine.layout();
  size_t bytes = 0;
  if (layout.observe() > 0) {
    bytes += layout.shape().layers * engine.pool().page_bytes(layout.queries_class());
  }
  for (uint32_t head = 0; head < layout.heads(); ++head) {
    if (sequence.head(head).moments != kNoPage) {
      bytes += engine.pool().page_bytes(layout.moments_class());
    }
  }
  return bytes + sequence.rows_held() * layout.state_floats() * sizeof(float);
}

Result<Cost> measure(Engine& engine, const SelectBench& options) {
  Cost cost;
  std::vector<uint32_t> tokens(options.context);
  uint32_t state = 1;
  for (uint32_t& token : tokens) {
    state = state * 1664525u + 1013904223u;
    token = static_cast<uint32_t>((state >> 8) % engine.vocabulary());
  }
  SKVIS_TRY(SequenceCache sequence,
            engine.open_sequence(options.context, options.context + options.steps));
  for (uint32_t done = 0; done < options.context;) {
    const uint32_t rows = sequence.slice(std::min(kPromptChunk, options.context - done));
    const StepWork work{.sequence = &sequence,
                        .tokens = std::span(tokens).subspan(done, rows),
                        .prompt_ends = done + rows == options.context};
    SKVIS_CHECK(engine.step({&work, 1}, {}));
    add(engine.last_step(), cost.prompt);
    done += rows;
  }
  std::vector<double> attention;
  for (uint32_t step = 0; step < options.steps; ++step) {
    const StepWork work{
        .sequence = &sequence, .tokens = {&tokens[step], 1}, .kind = RowKind::generated};
    SKVIS_CHECK(engine.step({&work, 1}, {}));
    attention.push_back(engine.last_step().attention);
  }
  cost.decode_attention = median(attention);
  cost.side_bytes = side_bytes(engine, sequence);
  return cost;
}

// Every selector that reads no data file, as often as it can decide; those that need the whole
// prompt decide at its end. Then every refinement.
std::vector<std::string> plans_of(const SelectBench& options) {
  if (!options.plans.empty()) return options.plans;
  std::vector<std::string> plans;
  const auto add_plan = [&](std::string_view keep, Horizon horizon) {
    plans.push_back(
        fmt::format("{} settle={}", keep, horizon == Horizon::prompt ? "prompt" : "256"));
  };
  for (const Selector* selector : selectors()) {
    if (selector->check_data != nullptr || selector->needs({}).scoring_pass) continue;
    add_plan(fmt::format("{}:{:.2f}", selector->name, options.ratio), selector->horizon);
  }
  for (const Refinement* refinement : refinements()) {
    add_plan(fmt::format("snapkv:{:.2f} refine={}", options.ratio, refinement->name),
             refinement->horizon);
  }
  return plans;
}

}  // namespace

Result<Json> bench_select(const Engine& engine, const SelectBench& options) {
  Json cases = Json::array();
  // What attention and settling take of their own, on the grid and once at the prompt's end.
  Cost plain[2];
  for (const bool at_end : {false, true}) {
    SKVIS_TRY(const auto planned,
              engine.with_plan(fmt::format("streaming:{:.2f} settle={}", options.ratio,
                                           at_end ? "prompt" : "256"),
                               options.kv_memory));
    SKVIS_CHECK(measure(*planned, options));  // warms up
    SKVIS_TRY(plain[at_end], measure(*planned, options));
  }
  fmt::print("{} tokens, then {} generated; beside streaming under the same rule of settling\n",
             options.context, options.steps);
  fmt::print("{:<36} {:>9} {:>11} {:>9} {:>13} {:>12}\n", "plan", "prompt s", "attention +",
             "settle +", "decode +", "holds");
  for (const std::string& plan : plans_of(options)) {
    SKVIS_TRY(const auto planned, engine.with_plan(plan, options.kv_memory));
    SKVIS_TRY(const Cost cost, measure(*planned, options));
    const Cost& base = plain[planned->plan().settle.step == 0];
    const double prompt = cost.prompt.dense + cost.prompt.attention + cost.prompt.settle;
    const double attention = (cost.prompt.attention - base.prompt.attention) / prompt;
    const double settle = (cost.prompt.settle - base.prompt.settle) / prompt;
    const double decode = cost.decode_attention - base.decode_attention;
    fmt::print("{:<36} {:>9.3f} {:>9.1f} % {:>7.1f} % {:>10.2f} ms {:>8} KiB\n", plan, prompt,
               100 * attention, 100 * settle, 1e3 * decode, cost.side_bytes / 1024);
    std::fflush(stdout);
    cases.push_back({{"plan", plan},
                     {"prompt_seconds", prompt},
                     {"attention_share", attention},
                     {"settle_share", settle},
                     {"decode_attention_seconds", cost.decode_attention},
                     {"decode_extra_seconds", decode},
                     {"side_bytes", cost.side_bytes}});
  }
  return Json{{"context", options.context}, {"steps", options.steps}, {"cases", std::move(cases)}};
}

}  // namespace skvis
