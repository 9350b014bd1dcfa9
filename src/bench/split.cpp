// SPDX-License-Identifier: Apache-2.0
// How evenly a table splits attention over workers, what making it costs, and how it does beside
// handing out one partial after another as workers become free.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <queue>
#include <random>

#include "attention/fused.hpp"
#include "attention/split.hpp"
#include "bench/bandwidth.hpp"
#include "bench/bench.hpp"

namespace skvis {
namespace {

constexpr size_t kPartialsPerWorker = 16;
constexpr size_t kPageBytes = size_t{kPageSlots} * 2 * 64 * 2;  // F16, head size 64
constexpr uint32_t kDraws = 50;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One layer of a step: heads that keep shares of `tokens`, as partials of whole pages.
struct Work {
  std::vector<uint32_t> partials;  // [heads]
  std::vector<uint32_t> pages;     // of each partial, in the order of heads
  std::vector<uint32_t> bytes() const {
    std::vector<uint32_t> bytes;
    for (const uint32_t each : pages) bytes.push_back(static_cast<uint32_t>(each * kPageBytes));
    return bytes;
  }
  // Every head has grown to the end of its class: its last partial is full.
  Work grown() const {
    Work work = *this;
    size_t end = 0;
    for (const uint32_t count : partials) {
      end += count;
      work.pages[end - 1] = kSealedPagesPerPartial;
    }
    return work;
  }
};

// Shares from 0.05 to 1, evenly spread, or, skewed, mostly small.
Work draw_work(std::mt19937& random, uint32_t tokens, bool skewed, size_t at_least) {
  std::uniform_real_distribution<double> uniform(0, 1);
  Work work;
  while (work.pages.size() < at_least) {
    const double u = uniform(random);
    const double share = 0.05 + 0.95 * (skewed ? u * u * u * u : u);
    auto left = std::max(1u, static_cast<uint32_t>(share * tokens / kPageSlots));
    work.partials.push_back((left + kSealedPagesPerPartial - 1) / kSealedPagesPerPartial);
    for (; left > 0; left -= work.pages.back()) {
      work.pages.push_back(std::min(left, kSealedPagesPerPartial));
    }
  }
  return work;
}

// Largest over mean if each partial goes to the worker that is free first, were all equally fast.
double handed_out(std::span<const uint32_t> bytes, uint32_t workers) {
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> busy;
  for (uint32_t i = 0; i < workers; ++i) busy.push(0);
  uint64_t last = 0, total = 0;
  for (const uint32_t each : bytes) {
    const uint64_t end = busy.top() + each;
    busy.pop();
    busy.push(end);
    last = std::max(last, end);
    total += each;
  }
  return static_cast<double>(last) * workers / static_cast<double>(total);
}

// Reads every partial's pages once, by the table or handed out; seconds. Pages lie in random order,
// as they do in a pool.
class Reader {
 public:
  explicit Reader(const Work& work) {
    for (const uint32_t each : work.pages) first_page_.push_back(first_page_.back() + each);
    for (size_t page = 0; page < first_page_.back(); ++page) offsets_.push_back(page * kPageBytes);
    std::shuffle(offsets_.begin(), offsets_.end(), std::mt19937(1));
    memory_.ensure(offsets_.size() * kPageBytes);
    std::fill_n(memory_.data(), offsets_.size() * kPageBytes, std::byte{1});
  }
  double by_table(std::span<const uint32_t> borders, ThreadPool& threads) {
    const auto start = std::chrono::steady_clock::now();
    threads.run(borders.size() - 1, [&](size_t worker, size_t) {
      for (uint32_t i = borders[worker]; i < borders[worker + 1]; ++i) read(i);
    });
    return seconds_since(start);
  }
  double by_hand_out(ThreadPool& threads) {
    const auto start = std::chrono::steady_clock::now();
    threads.run(first_page_.size() - 1, [&](size_t item, size_t) { read(item); });
    return seconds_since(start);
  }

 private:
  void read(size_t i) {
    uint64_t sum = 0;
    for (size_t page = first_page_[i]; page < first_page_[i + 1]; ++page) {
      sum += read_bytes(memory_.data() + offsets_[page], kPageBytes);
    }
    sum_.fetch_add(sum, std::memory_order_relaxed);
  }

  std::vector<size_t> first_page_ = {0};  // [partials + 1]
  std::vector<size_t> offsets_;           // [pages]
  AlignedBuffer<std::byte> memory_;
  std::atomic<uint64_t> sum_{0};
};

struct Balance {
  double table = 1, table_worst = 1;
  double grown = 1, grown_worst = 1;
  double handed = 1, handed_worst = 1;
};

Balance balance_of(uint32_t workers, uint32_t tokens, bool skewed) {
  std::mt19937 random(1);
  Balance sum{0, 1, 0, 1, 0, 1};
  const auto add = [](double value, double& mean, double& worst) {
    mean += value / kDraws;
    worst = std::max(worst, value);
  };
  for (uint32_t draw = 0; draw < kDraws; ++draw) {
    const Work work = draw_work(random, tokens, skewed, kPartialsPerWorker * workers);
    const auto bytes = work.bytes();
    const auto borders = even_borders(bytes, workers);
    add(imbalance(bytes, borders), sum.table, sum.table_worst);
    add(imbalance(work.grown().bytes(), borders), sum.grown, sum.grown_worst);
    add(handed_out(bytes, workers), sum.handed, sum.handed_worst);
  }
  return sum;
}

// Seconds to make a table anew and to look up one that still holds.
struct PlanningCost {
  double make = 0;
  double look_up = 0;
};
PlanningCost planning_cost(const Work& work, uint32_t workers, uint32_t repeats) {
  const auto bytes = work.bytes();
  std::vector<double> make, look_up;
  SplitTable kept(workers);
  const auto ask = [&](SplitTable& table) {
    size_t next = 0;
    const auto start = std::chrono::steady_clock::now();
    table.borders(work.partials, [&](size_t head, std::vector<uint32_t>& list) {
      for (uint32_t i = 0; i < work.partials[head]; ++i) list.push_back(bytes[next++]);
    });
    return seconds_since(start);
  };
  ask(kept);
  for (uint32_t i = 0; i < repeats; ++i) {
    SplitTable fresh(workers);
    make.push_back(ask(fresh));
    look_up.push_back(ask(kept));
  }
  return {median(make), median(look_up)};
}

Json bench_case(uint32_t workers, const SplitBench& options, bool skewed, ReadBandwidth& others,
                ThreadPool& threads) {
  const Balance balance = balance_of(workers, options.tokens, skewed);
  std::mt19937 random(1);
  const Work work = draw_work(random, options.tokens, skewed, kPartialsPerWorker * workers);
  const auto bytes = work.bytes();
  const PlanningCost cost = planning_cost(work, workers, options.repeats);
  Reader reader(work);
  const auto borders = even_borders(bytes, static_cast<uint32_t>(threads.threads()));
  std::vector<double> ratios, handed;
  for (uint32_t i = 0; i < options.repeats + 2; ++i) {  // the first two touch the memory
    others.measure(threads);                            // nothing is left in the caches
    const double hand_out = reader.by_hand_out(threads);
    others.measure(threads);
    const double table = reader.by_table(borders, threads);
    if (i < 2) continue;
    handed.push_back(hand_out);
    ratios.push_back(table / hand_out);
  }
  fmt::print(
      "{:>2} workers, {:<6} budgets, {} partials of {} heads: table {:.3f} (worst {:.3f}), at the "
      "end of its class {:.3f} ({:.3f}), handed out {:.3f} ({:.3f})\n",
      workers, skewed ? "skewed" : "even", bytes.size(), work.partials.size(), balance.table,
      balance.table_worst, balance.grown, balance.grown_worst, balance.handed,
      balance.handed_worst);
  fmt::print(
      "   made in {:.1f} us, {:.3f} % of reading the partials on {} threads; looked up in {:.2f} "
      "us, {:.4f} %; reading by the table takes {:.3f} of the time handed out\n",
      1e6 * cost.make, 100 * cost.make / median(handed), threads.threads(), 1e6 * cost.look_up,
      100 * cost.look_up / median(handed), median(ratios));
  std::fflush(stdout);
  return Json{{"workers", workers},
              {"skewed", skewed},
              {"partials", bytes.size()},
              {"heads", work.partials.size()},
              {"imbalance", balance.table},
              {"imbalance_worst", balance.table_worst},
              {"imbalance_end_of_class", balance.grown},
              {"imbalance_end_of_class_worst", balance.grown_worst},
              {"imbalance_handed_out", balance.handed},
              {"imbalance_handed_out_worst", balance.handed_worst},
              {"make_seconds", cost.make},
              {"look_up_seconds", cost.look_up},
              {"read_seconds", median(handed)},
              {"table_to_handed_out", median(ratios)}};
}

}  // namespace

Result<Json> bench_split(const SplitBench& options) {
  ThreadPool threads(options.threads > 0 ? options.threads : available_threads());
  fmt::print(
      "largest share over the mean of all workers, over {} draws of budgets from 0.05 to 1 of {} "
      "tokens, {} partials a worker and more\n",
      kDraws, options.tokens, kPartialsPerWorker);
  ReadBandwidth others(size_t{256} << 20);
  Json cases = Json::array();
  for (const uint32_t workers : {2u, 8u, 64u}) {
    for (const bool skewed : {false, true}) {
      cases.push_back(bench_case(workers, options, skewed, others, threads));
    }
  }
  return Json{{"bench", "split"}, {"threads", threads.threads()}, {"cases", cases}};
}

}  // namespace skvis
