// SPDX-License-Identifier: Apache-2.0
#include "bench/multiturn.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <optional>

#include "base/bytes.hpp"
#include "bench/bandwidth.hpp"
#include "engine/scheduler.hpp"

namespace skvis {
namespace {

using Clock = std::chrono::steady_clock;
using Progress = std::function<void(std::string_view, size_t, size_t)>;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of all threads of this process. With one thread it is what the work took, whoever else was busy.
double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Moment {
  Clock::time_point wall = Clock::now();
  double processor = processor_seconds();
};

double ratio(double a, double b) {
  return b > 0 ? a / b : 0;
}

// The same tokens for every plan, others for every conversation and turn.
void add_tokens(std::vector<uint32_t>& tokens, uint32_t count, uint32_t seed, size_t vocabulary) {
  uint32_t state = seed * 2654435761u + 1;
  for (uint32_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<uint32_t>((state >> 8) % vocabulary));
  }
}

// Time of steps, by what they did.
struct Steps {
  double seconds = 0;
  StepSeconds parts;
  uint64_t prompt_rows = 0;
  uint64_t generated_rows = 0;
  std::vector<double> each;       // [steps] seconds
  std::vector<double> processor;  // [steps] seconds of all threads

  void add(const Moment& start, const StepReport& report) {
    const double step_seconds = seconds_since(start.wall);
    processor.push_back(processor_seconds() - start.processor);
    seconds += step_seconds;
    parts.dense += report.seconds.dense;
    parts.attention += report.seconds.attention;
    parts.settle += report.seconds.settle;
    prompt_rows += report.prompt_rows;
    generated_rows += report.generated_rows;
    each.push_back(step_seconds);
  }
};

struct PlanReport {
  std::string plan;
  size_t most_admitted = 0;
  ReservationParts reservation;
  PoolFigures steady;  // with all prompts read
  size_t steady_full_bytes = 0;
  Steps reading;
  Steps decode;
  double attention_bytes_per_second = 0;
  double read_bytes_per_second = 0;
  Steps whole;
  double whole_seconds = 0;
  uint64_t reused_tokens = 0;
  uint64_t dropped = 0;

  double rate(const std::vector<double>& steps) const {
    return ratio(static_cast<double>(most_admitted), steps.empty() ? 0 : median(steps));
  }
  double decode_rate() const { return rate(decode.each); }
  double processor_rate() const { return rate(decode.processor); }
  double whole_rate() const {
    return ratio(static_cast<double>(whole.generated_rows), whole_seconds);
  }
};

class Workload {
 public:
  Workload(Engine& engine, const MultiturnBench& options, const Progress& progress)
      : engine_(engine), options_(options), progress_(progress) {}

  Result<PlanReport> run(const std::string& plan);

 private:
  ScheduledRequest request(std::vector<uint32_t> prompt);
  Result<void> decode(PlanReport& report);
  Result<void> whole(PlanReport& report);
  void begin_turn(Scheduler& scheduler, uint32_t conversation, PlanReport& report);
  void show(std::string_view what, size_t done, size_t total) const {
    if (progress_) progress_(what, done, total);
  }

  Engine& engine_;
  const MultiturnBench& options_;
  const Progress& progress_;
  std::vector<std::vector<uint32_t>> prompts_;  // [conversations]
  size_t turns_done_ = 0;                       // of all conversations
  std::string error_;
};

ScheduledRequest Workload::request(std::vector<uint32_t> prompt) {
  ScheduledRequest request;
  request.generation.prompt = std::move(prompt);
  request.generation.max_tokens = options_.answer;
  request.generation.sampling.temperature = 0;
  request.generation.ignore_end = true;
  request.generation.tokens_only = true;
  request.on_error = [this](const Error& error) { error_ = error.message; };
  return request;
}

// The first turn of all conversations; answers wait until the prompts of those that were admitted
// are read. Ends when the first answer does: until then the batch is whole.
Result<void> Workload::decode(PlanReport& report) {
  bool ended = false;
  size_t to_read = 0;
  Scheduler scheduler(
      engine_,
      {.most_running = options_.conversations, .share_prefixes = false, .prompts_first = true});
  for (uint32_t i = 0; i < options_.conversations; ++i) {
    ScheduledRequest asked = request(prompts_[i]);
    to_read = asked.generation.prompt.size();
    asked.on_done = [&](const GenerationResult& result) {
      ended = ended || result.finish != FinishReason::cancelled;
    };
    scheduler.submit(std::move(asked));
  }
  while (!ended && error_.empty()) {
    const Moment start;
    scheduler.step();
    const SchedulerFigures figures = scheduler.figures();
    const StepReport& step = scheduler.last_step();
    report.most_admitted = std::max(report.most_admitted, figures.running());
    if (step.prompt_rows > 0) {
      report.reading.add(start, step);
    } else if (step.generated_rows == report.most_admitted) {
      report.decode.add(start, step);
    }
    show("reading and decoding", report.reading.prompt_rows + report.decode.generated_rows,
         report.most_admitted * (to_read + options_.answer));
    if (ended || report.decode.each.size() != options_.answer / 2) continue;
    report.steady = engine_.pool().figures();
    report.steady_full_bytes =
        figures.running() *
        engine_.layout().full_cache_bytes(static_cast<uint32_t>(to_read) + options_.answer / 2);
  }
  if (!error_.empty()) return fail("{}", error_);
  // Side data is not read by attention.
  const size_t side = report.most_admitted * report.reservation.side;
  report.attention_bytes_per_second =
      ratio(static_cast<double>(report.steady.used - std::min(side, report.steady.used)),
            report.decode.parts.attention / static_cast<double>(report.decode.each.size()));
  return {};
}

void Workload::begin_turn(Scheduler& scheduler, uint32_t conversation, PlanReport& report) {
  ScheduledRequest asked = request(prompts_[conversation]);
  asked.on_done = [this, &report, conversation](const GenerationResult& result) {
    report.reused_tokens += result.reused_tokens;
    std::vector<uint32_t>& prompt = prompts_[conversation];
    prompt.insert(prompt.end(), result.tokens.begin(), result.tokens.end());
    ++turns_done_;
  };
  scheduler.submit(std::move(asked));
}

// All conversations have a turn before any has the next, as if their owners read and wrote
// meanwhile.
Result<void> Workload::whole(PlanReport& report) {
  Scheduler scheduler(engine_, {.most_running = options_.conversations, .share_prefixes = false});
  const auto start = Clock::now();
  for (uint32_t turn = 0; turn < options_.turns; ++turn) {
    for (uint32_t i = 0; i < options_.conversations; ++i) {
      if (turn > 0) add_tokens(prompts_[i], options_.fresh, i * 1000 + turn, engine_.vocabulary());
      begin_turn(scheduler, i, report);
    }
    for (bool more = true; more && error_.empty();) {
      const Moment step_start;
      more = scheduler.step();
      report.whole.add(step_start, scheduler.last_step());
      show("whole run", turns_done_, size_t{options_.conversations} * options_.turns);
    }
    if (!error_.empty()) return fail("{}", error_);
  }
  report.whole_seconds = seconds_since(start);
  // The first token of an answer comes with the prompt, and the last one is never read.
  report.whole.generated_rows = uint64_t{options_.conversations} * options_.turns * options_.answer;
  report.dropped = scheduler.figures().dropped;
  return {};
}

Result<PlanReport> Workload::run(const std::string& plan) {
  PlanReport report;
  report.plan = plan;
  const uint32_t prompt = options_.context + options_.fresh;
  report.reservation = engine_.layout().worst_case_parts(prompt, prompt + options_.answer);
  prompts_.assign(options_.conversations, {});
  for (uint32_t i = 0; i < options_.conversations; ++i) {
    add_tokens(prompts_[i], prompt, i * 1000, engine_.vocabulary());
  }
  SKVIS_CHECK(engine_.can_ever_fit(prompt, options_.tokens_after(options_.turns)));
  SKVIS_CHECK(decode(report));
  ReadBandwidth bandwidth(size_t{256} << 20);
  std::vector<double> rates;
  for (int i = 0; i < 5; ++i) rates.push_back(bandwidth.measure(engine_.threads()));
  report.read_bytes_per_second = median(rates);
  if (!options_.decode_only) SKVIS_CHECK(whole(report));
  return report;
}

std::string bytes(size_t count) {
  return format_bytes(static_cast<double>(count));
}

Json seconds_json(const Steps& steps) {
  return {{"seconds", steps.seconds},           {"dense", steps.parts.dense},
          {"attention", steps.parts.attention}, {"settle", steps.parts.settle},
          {"steps", steps.each.size()},         {"prompt_tokens", steps.prompt_rows}};
}

Json report_json(const PlanReport& report) {
  const ReservationParts& parts = report.reservation;
  Json json = {{"plan", report.plan},
               {"sequences_admitted", report.most_admitted},
               {"reservation",
                {{"total", parts.total()},
                 {"settled", parts.settled},
                 {"answer", parts.answer},
                 {"settling", parts.settling},
                 {"exact", parts.exact},
                 {"sinks", parts.sinks},
                 {"side", parts.side},
                 {"remainders", parts.remainders}}},
               {"steady",
                {{"used", report.steady.used},
                 {"wasted", report.steady.wasted},
                 {"reserved", report.steady.reserved},
                 {"full_cache", report.steady_full_bytes}}},
               {"reading", seconds_json(report.reading)},
               {"decode", seconds_json(report.decode)},
               {"attention_bytes_per_second", report.attention_bytes_per_second},
               {"read_bytes_per_second", report.read_bytes_per_second}};
  json["decode"]["tokens_per_second"] = report.decode_rate();
  json["decode"]["tokens_per_processor_second"] = report.processor_rate();
  if (report.whole_seconds > 0) {
    json["whole"] = seconds_json(report.whole);
    json["whole"]["seconds"] = report.whole_seconds;
    json["whole"]["tokens_per_second"] = report.whole_rate();
    json["whole"]["reused_tokens"] = report.reused_tokens;
    json["whole"]["conversations_dropped"] = report.dropped;
  }
  return json;
}

void print_report(const PlanReport& report, const PlanReport& first) {
  const ReservationParts& parts = report.reservation;
  const auto percent = [](double a, double b) { return 100 * ratio(a, b); };
  const auto part_of = [](size_t a, size_t b) {
    return ratio(static_cast<double>(a), static_cast<double>(b));
  };
  fmt::print(
      "{}\n  a sequence reserves {}: settled {}, answer {}, settling {}, exact {}, sinks {}, "
      "side data {}, page remainders {}\n",
      report.plan, bytes(parts.total()), bytes(parts.settled), bytes(parts.answer),
      bytes(parts.settling), bytes(parts.exact), bytes(parts.sinks), bytes(parts.side),
      bytes(parts.remainders));
  const PoolFigures& kv = report.steady;
  fmt::print(
      "  {} sequences at once; half way through the answers {} used, {} wasted, {} promised "
      "of {} in full caches: used {:.3f}, reserved {:.3f}\n",
      report.most_admitted, bytes(kv.used), bytes(kv.wasted), bytes(kv.reserved),
      bytes(report.steady_full_bytes), part_of(kv.used, report.steady_full_bytes),
      part_of(kv.used + kv.wasted + kv.reserved, report.steady_full_bytes));
  const Steps& decode = report.decode;
  const Steps& reading = report.reading;
  fmt::print(
      "  decode {:.1f} tokens/s, {:.2f} x the first plan; products {:.0f} %, attention {:.0f} "
      "% of a step; attention reads {:.1f} GB/s, {:.0f} % of read bandwidth\n",
      report.decode_rate(), ratio(report.decode_rate(), first.decode_rate()),
      percent(decode.parts.dense, decode.seconds), percent(decode.parts.attention, decode.seconds),
      report.attention_bytes_per_second / 1e9,
      percent(report.attention_bytes_per_second, report.read_bytes_per_second));
  fmt::print("  decode by processor time {:.1f} tokens/s, {:.2f} x the first plan\n",
             report.processor_rate(), ratio(report.processor_rate(), first.processor_rate()));
  fmt::print("  prompts {:.0f} tokens/s, settling {:.2f} % of that time\n",
             ratio(static_cast<double>(reading.prompt_rows), reading.seconds),
             percent(reading.parts.settle, reading.seconds));
  if (report.whole_seconds > 0) {
    fmt::print(
        "  whole run {:.1f} tokens/s, {:.2f} x the first plan; {} prompt tokens read, {} "
        "found again, {} conversations dropped, settling {:.2f} %\n",
        report.whole_rate(), ratio(report.whole_rate(), first.whole_rate()),
        report.whole.prompt_rows, report.reused_tokens, report.dropped,
        percent(report.whole.parts.settle, report.whole.seconds));
  }
  std::fflush(stdout);
}

// Bytes in which so many conversations are admitted to their last turn under the full plan.
Result<size_t> memory_of_full(Engine& engine, const MultiturnBench& options) {
  SKVIS_TRY(const auto full, engine.with_plan("full", Pool::kHugeFrom));
  const uint32_t tokens = options.tokens_after(options.turns);
  const Quota quota = full->layout().worst_case(tokens, tokens);
  size_t memory = 0;
  for (const size_t slab : {Pool::kHugeSlabBytes, Pool::kSlabBytes}) {
    memory = 0;
    for (const auto& [page_class, pages] : quota) {
      const size_t per_slab = slab / full->pool().page_bytes(page_class);
      memory += (options.full_sequences * pages + per_slab - 1) / per_slab * slab;
    }
    if (memory >= Pool::kHugeFrom) break;  // a smaller pool has the smaller slabs
  }
  return memory;
}

}  // namespace

Result<Json> bench_multiturn(Engine& engine, const MultiturnBench& options,
                             const Progress& progress) {
  MultiturnBench sized = options;
  if (sized.kv_memory == 0) {
    SKVIS_TRY(sized.kv_memory, memory_of_full(engine, options));
  }
  fmt::print(
      "{} conversations of {} turns: {} tokens of context, {} new and {} answered a turn; KV "
      "memory {}\n",
      sized.conversations, sized.turns, sized.context, sized.fresh, sized.answer,
      bytes(sized.kv_memory));
  Json plans = Json::array();
  std::optional<PlanReport> first;
  for (const std::string& plan : sized.plans) {
    SKVIS_TRY(const auto planned, engine.with_plan(plan, sized.kv_memory));
    // As a server finds its memory that has run for a while.
    planned->pool().populate();
    SKVIS_TRY(PlanReport report, Workload(*planned, sized, progress).run(plan));
    if (!first) first = report;
    print_report(report, *first);
    plans.push_back(report_json(report));
  }
  return Json{{"conversations", sized.conversations},
              {"turns", sized.turns},
              {"context", sized.context},
              {"new_tokens", sized.fresh},
              {"answered_tokens", sized.answer},
              {"kv_memory", sized.kv_memory},
              {"model", engine.model().name},
              {"dense", engine.model().model.description()},
              {"threads", engine.threads().threads()},
              {"plans", std::move(plans)}};
}

}  // namespace skvis
