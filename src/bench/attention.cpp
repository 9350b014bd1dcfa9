// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <random>

#include "attention/attention_step.hpp"
#include "attention/statistics.hpp"
#include "bench/bandwidth.hpp"
#include "bench/bench.hpp"
#include "cache/settle.hpp"
#include "kernels/table.hpp"

namespace skvis {
namespace {

constexpr uint32_t kKvHeads = 8;
// Different rows that fill pages; a multiple of what is sealed at once would repeat in step.
constexpr size_t kSampleRows = 4099;

CacheShape bench_shape(uint32_t head_dim, uint32_t group) {
  return {.layers = 1,
          .query_heads = kKvHeads * group,
          .kv_heads = kKvHeads,
          .head_dim = head_dim,
          .attention_scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
          .window = {0},
          .owner = {0}};
}

RotaryTable bench_rotary(uint32_t head_dim) {
  RotaryTable table;
  for (uint32_t i = 0; i < head_dim / 2; ++i) {
    table.inverse_frequency.push_back(std::pow(10000.0, -2.0 * i / head_dim));
  }
  return table;
}

std::vector<float> normal_floats(size_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

// One long sequence whose sealed pages lie in random order in the pool. It is filled as any other:
// rows are appended, committed and settled, a page at a time.
class LongSequence {
 public:
  static Result<std::unique_ptr<LongSequence>> fill(const std::string& code, uint32_t head_dim,
                                                    uint32_t group, size_t bytes,
                                                    ThreadPool& threads) {
    const Json plan = {{"store", {{{"key", code}, {"value", code}}}},
                       {"settle", kPageSlots},
                       {"sinks", 0},
                       {"exact", 0}};
    SKVIS_TRY(Plan resolved, resolve_plan(plan.dump(), bench_shape(head_dim, group)));
    const size_t page_bytes = size_t{kPageSlots} * resolved.row_bytes[0];
    const size_t pages = (bytes + page_bytes * kKvHeads - 1) / (page_bytes * kKvHeads);
    // A sixteenth for what is left of slabs, and a little for open pages.
    const size_t budget = pages * kKvHeads * round_up(page_bytes, kCacheLine);
    SKVIS_TRY(Pool pool, Pool::create(budget + budget / 16 + 32 * Pool::kHugeSlabBytes));
    auto sequence = std::make_unique<LongSequence>(std::move(pool));
    SKVIS_TRY(CacheLayout layout, CacheLayout::create(resolved, sequence->pool_));
    sequence->layout_.emplace(std::move(layout));
    sequence->cache_.emplace(*sequence->layout_, sequence->pool_, kUnreserved);
    SKVIS_CHECK(sequence->append_pages(pages, threads));
    return sequence;
  }

  explicit LongSequence(Pool&& pool) : pool_(std::move(pool)) {}

  SequenceCache& cache() { return *cache_; }
  size_t sealed_bytes() const {
    size_t bytes = 0;
    for (uint32_t head = 0; head < kKvHeads; ++head) {
      bytes +=
          cache_->head(head).sealed.pages.size() * pool_.page_bytes(layout_->head(head).sealed);
    }
    return bytes;
  }

 private:
  // The pool's pages are taken, shuffled, and given back a few at a time just before each settling,
  // which can take no others then.
  Result<void> append_pages(size_t pages, ThreadPool& threads) {
    const PageClass sealed = layout_->head(0).sealed;
    std::vector<PageId> free_pages(pages * kKvHeads);
    for (PageId& page : free_pages) page = pool_.allocate(sealed, kUnreserved);
    std::shuffle(free_pages.begin(), free_pages.end(), std::mt19937(1));
    const size_t width = layout_->shape().head_dim;
    const std::vector<float> floats = normal_floats(kSampleRows * width, 2);
    const size_t row_bytes = layout_->exact_row_bytes();
    std::vector<std::byte> rows(kSampleRows * row_bytes);
    store_exact(layout_->plan().exact_type, floats.data(), floats.size(), rows.data());
    const auto sample = [&](size_t i) { return rows.data() + i % kSampleRows * row_bytes; };
    const StoredAttention statistics;
    for (size_t page = 0; page < pages; ++page) {
      for (uint32_t head = 0; head < kKvHeads; ++head) {
        pool_.free(free_pages.back(), kUnreserved, 0);
        free_pages.pop_back();
      }
      const uint32_t begin = cache_->length();
      SKVIS_CHECK(cache_->append(kPageSlots));
      for (uint32_t position = begin; position < begin + kPageSlots; ++position) {
        for (uint32_t head = 0; head < kKvHeads; ++head) {
          std::memcpy(cache_->exact_key(head, position), sample(position + 509 * head), row_bytes);
          std::memcpy(cache_->exact_value(head, position), sample(3 * position + head), row_bytes);
        }
      }
      cache_->commit(kPageSlots);
      SKVIS_CHECK(settle(*cache_, statistics, threads));
    }
    return {};
  }

  Pool pool_;
  std::optional<CacheLayout> layout_;
  std::optional<SequenceCache> cache_;
};

// Attention of one generated row, merging included; the row is rolled back.
class GeneratedRow {
 public:
  explicit GeneratedRow(const CacheShape& shape)
      : rotary_(bench_rotary(shape.head_dim)),
        q_(normal_floats(size_t{shape.query_heads} * shape.head_dim, 3)),
        k_(normal_floats(size_t{shape.kv_heads} * shape.head_dim, 4)),
        out_(q_.size()) {}

  Result<double> seconds(SequenceCache& sequence, ThreadPool& threads) {
    const SequenceSlice slice{.sequence = &sequence, .rows = 1, .kind = RowKind::generated};
    const auto start = std::chrono::steady_clock::now();
    {
      SKVIS_TRY(const auto step, AttentionStep::begin({&slice, 1}, threads));
      step->attend({.layer = 0, .q = q_.data(), .k = k_.data(), .v = k_.data(), .rotary = &rotary_},
                   out_.data());
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  RotaryTable rotary_;
  std::vector<float> q_;
  std::vector<float> k_;
  std::vector<float> out_;
};

Result<Json> bench_case(const std::string& code, uint32_t head_dim, uint32_t group,
                        const AttentionBench& options, ReadBandwidth& bandwidth,
                        ThreadPool& threads) {
  SKVIS_TRY(const auto sequence, LongSequence::fill(code, head_dim, group, options.bytes, threads));
  const auto bytes = static_cast<double>(sequence->sealed_bytes());
  GeneratedRow row(sequence->cache().layout().shape());
  SKVIS_CHECK(row.seconds(sequence->cache(), threads));  // memory of the step is touched
  std::vector<double> rates;
  std::vector<double> read_rates;
  std::vector<double> shares;
  for (uint32_t repeat = 0; repeat < std::max(1u, options.repeats); ++repeat) {
    SKVIS_TRY(const double seconds, row.seconds(sequence->cache(), threads));
    read_rates.push_back(bandwidth.measure(threads));
    rates.push_back(bytes / seconds);
    shares.push_back(rates.back() / read_rates.back());
  }
  const std::string_view level = kernels::level_name(kernels::active_kernels().level);
  fmt::print(
      "{:<14} head size {:>3}, {} query heads per KV head: {:5.1f} GB/s of codes, reads {:5.1f} "
      "GB/s, {:5.1f} %  [{}]\n",
      code, head_dim, group, median(rates) / 1e9, median(read_rates) / 1e9, 100 * median(shares),
      level);
  std::fflush(stdout);
  return Json{{"code", code},
              {"head_dim", head_dim},
              {"group_size", group},
              {"kernels", level},
              {"tokens", sequence->cache().committed()},
              {"encoded_bytes", bytes},
              {"repeats", shares.size()},
              {"bytes_per_second", median(rates)},
              {"read_bytes_per_second", median(read_rates)},
              {"share_of_read_bandwidth", median(shares)}};
}

}  // namespace

Result<Json> bench_attention(const AttentionBench& options) {
  ThreadPool threads(options.threads > 0 ? options.threads : available_threads());
  ReadBandwidth bandwidth(size_t{256} << 20);
  fmt::print("{} threads; attention of one generated row over {} MB of codes and more\n",
             threads.threads(), options.bytes / 1'000'000);
  Json cases = Json::array();
  for (const std::string& code : options.codes) {
    for (const uint32_t head_dim : options.head_dims) {
      for (const uint32_t group : options.groups) {
        SKVIS_TRY(Json result, bench_case(code, head_dim, group, options, bandwidth, threads));
        cases.push_back(std::move(result));
      }
    }
  }
  return Json{{"bench", "attention"}, {"threads", threads.threads()}, {"cases", cases}};
}

}  // namespace skvis
