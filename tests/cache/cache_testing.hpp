// SPDX-License-Identifier: Apache-2.0
// Plans, sequences and an independent count of memory for tests of the cache and of attention.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/aligned.hpp"
#include "cache/rows.hpp"
#include "cache/sequence_cache.hpp"
#include "cache/settle.hpp"

namespace skvis {

inline CacheShape make_shape(uint32_t layers, uint32_t kv_heads, uint32_t group_size,
                             uint32_t head_dim, std::vector<uint32_t> window = {}) {
  CacheShape shape{.layers = layers,
                   .query_heads = kv_heads * group_size,
                   .kv_heads = kv_heads,
                   .head_dim = head_dim,
                   .attention_scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                   .window = std::move(window),
                   .owner = {}};
  shape.window.resize(layers, 0);
  for (uint32_t layer = 0; layer < layers; ++layer) shape.owner.push_back(layer);
  for (uint32_t i = 0; i < head_dim / 2; ++i) {
    shape.rotary.inverse_frequency.push_back(std::pow(10000.0, -2.0 * i / head_dim));
  }
  return shape;
}

inline Plan make_plan(const std::string& text, const CacheShape& shape) {
  auto plan = resolve_plan(text, shape);
  if (!plan) throw std::runtime_error(text + ": " + plan.error().message);
  return std::move(plan).value();
}

// A plan as JSON from the codes of keys and values and further members.
inline std::string plan_text(const std::string& key, const std::string& value,
                             const std::string& members = {}) {
  return R"({"store": [{"key": ")" + key + R"(", "value": ")" + value + "\"}]" +
         (members.empty() ? "" : ", ") + members + "}";
}

// A number that depends on its arguments alone.
inline uint64_t mix(uint64_t a, uint64_t b = 0, uint64_t c = 0) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + b * 0xbf58476d1ce4e5b9u + c * 0x94d049bb133111ebu + 1;
  for (int i = 0; i < 3; ++i) {
    x ^= x >> 31;
    x *= 0xd6e8feb86659fd93u;
  }
  return x ^ x >> 32;
}

// Attention as a test sees fit: column sums that depend on head and position alone.
class GivenStatistics final : public AttentionStatistics {
 public:
  explicit GivenStatistics(uint64_t seed = 0) : seed_(seed) {}
  float sum(uint32_t head, uint32_t position) const {
    return static_cast<float>(mix(seed_, head, position) % 1000003) / 1000003.0f;
  }
  void column_sums(const SequenceCache& sequence, uint32_t head, uint32_t, GroupReduce,
                   uint32_t from, std::span<float> out) const override {
    const auto rows = live_rows(sequence, head, sequence.committed());
    for (size_t i = 0; i < out.size(); ++i) {
      const uint32_t position = rows[i % rows.size()].position;
      out[i] = nothing_before_ && position < from ? 0.0f : sum(head, position);
    }
  }
  // Sums that the caller said it does not need are 0 from now on.
  void leave_out() { nothing_before_ = true; }

 private:
  bool nothing_before_ = false;
  uint64_t seed_;
};

// Exact rows of positions [begin, end) of every head: `fill(index, role, position, row)`.
template <typename Fill>
void write_rows(SequenceCache& sequence, uint32_t begin, uint32_t end, Fill&& fill) {
  const CacheLayout& layout = sequence.layout();
  std::vector<float> row(layout.shape().head_dim);
  const ExactType type = layout.plan().exact_type;
  for (uint32_t head = 0; head < layout.heads(); ++head) {
    for (uint32_t position = begin; position < end; ++position) {
      fill(head, Role::key, position, row.data());
      store_exact(type, row.data(), row.size(), sequence.exact_key(head, position));
      fill(head, Role::value, position, row.data());
      store_exact(type, row.data(), row.size(), sequence.exact_value(head, position));
    }
  }
}

// Memory as a walk over the tables of all sequences finds it.
class MemoryWalk {
 public:
  MemoryWalk(const Pool& pool, size_t slab_bytes) : pool_(pool), slab_bytes_(slab_bytes) {}

  // `quota`: what was reserved for the sequence, empty if nothing. `given_up`: pages that it holds
  // in common with forks, and that count against nobody.
  void add(const SequenceCache& sequence, const Quota& quota, bool had_rows,
           const std::set<PageId>& given_up = {}) {
    const CacheLayout& layout = sequence.layout();
    const size_t exact_row = 2 * layout.exact_row_bytes() + layout.state_floats() * sizeof(float);
    std::map<PageClass, size_t> held;
    std::map<PageClass, size_t> common;  // counts against nobody
    const auto side = [&](PageClass page_class) {
      side_[page_class] += 1;
      side_bytes_ += pool_.page_bytes(page_class);
      ++held[page_class];
    };
    const auto visit = [&](PageId page, uint64_t live, size_t row_bytes, PageClass page_class) {
      ASSERT_EQ(pool_.class_of(page), page_class);
      Page& entry = pages_[page];
      entry.page_class = page_class;
      entry.live |= live;
      entry.row_bytes = row_bytes;
      ++(given_up.contains(page) ? common : held)[page_class];
    };
    for (uint32_t i = 0; i < layout.heads(); ++i) {
      const HeadCache& head = sequence.head(i);
      if (head.sinks.page != kNoPage) {
        visit(head.sinks.page, head.sinks.live, exact_row, layout.sinks_class());
      }
      for (const ExactPage& open : head.open) {
        visit(open.page, open.live, exact_row, layout.open_class());
      }
      const PageClass sealed = layout.head(i).sealed;
      for (const PageEntry& entry : head.sealed.pages) {
        visit(entry.page, entry.live, pool_.page_bytes(sealed) / kPageSlots, sealed);
        ASSERT_EQ(entry.state != kNoPage, layout.state_floats() > 0 && layout.head(i).selectable);
        if (entry.state != kNoPage) side(layout.state_class());
      }
      if (sequence.head(i).moments != kNoPage) side(layout.moments_class());
    }
    if (layout.observe() > 0 && had_rows) {  // one page of side data per layer
      for (uint32_t layer = 0; layer < layout.shape().layers; ++layer) side(layout.queries_class());
    }
    std::map<PageClass, size_t> promised;
    for (const auto& [page_class, pages] : quota) promised[page_class] += pages;
    for (auto& [page_class, pages] : promised) pages -= std::min(pages, common[page_class]);
    for (const auto& [page_class, pages] : held) {
      claims_[page_class] += std::max(pages, promised[page_class]);
      EXPECT_TRUE(quota.empty() || pages <= promised[page_class]) << "more pages than reserved";
    }
    for (const auto& [page_class, pages] : promised) {
      if (held.find(page_class) == held.end()) claims_[page_class] += pages;
    }
  }

  void expect_figures() const {
    PoolFigures expected;
    std::map<PageClass, size_t> pages = side_;
    std::map<uint32_t, PageClass> slabs;
    expected.used = side_bytes_;
    for (const auto& [page, entry] : pages_) {
      const size_t live = static_cast<size_t>(std::popcount(entry.live)) * entry.row_bytes;
      ASSERT_EQ(pool_.live(page), entry.live);
      expected.used += live;
      expected.wasted += stride(entry.page_class) - live;
      slabs[page >> 12] = entry.page_class;
      if (!pool_.in_common(page)) ++pages[entry.page_class];
    }
    for (const auto& [page_class, count] : side_) {
      expected.wasted += count * (stride(page_class) - pool_.page_bytes(page_class));
    }
    for (const auto& [page_class, count] : claims_) {
      expected.reserved += (count - pages[page_class]) * stride(page_class);
    }
    const PoolFigures figures = pool_.figures();
    ASSERT_EQ(figures.used, expected.used);
    ASSERT_EQ(figures.reserved, expected.reserved);
    // Remainders of slabs: of those that hold rows for certain, of others perhaps.
    for (const auto& [slab, page_class] : slabs) {
      expected.wasted += slab_bytes_ % stride(page_class);
    }
    if (side_.empty()) {
      ASSERT_EQ(figures.wasted, expected.wasted);
    } else {
      ASSERT_GE(figures.wasted, expected.wasted);
    }
    ASSERT_EQ(figures.used + figures.wasted + figures.reserved + figures.free, pool_.budget());
    ASSERT_LE(figures.free, pool_.budget());
    ASSERT_EQ(figures, pool_.recount());
  }

 private:
  struct Page {
    PageClass page_class = 0;
    uint64_t live = 0;
    size_t row_bytes = 0;
  };
  size_t stride(PageClass page_class) const {
    return std::max<size_t>(256, round_up(pool_.page_bytes(page_class), kCacheLine));
  }

  const Pool& pool_;
  size_t slab_bytes_;
  std::map<PageId, Page> pages_;
  std::map<PageClass, size_t> side_;
  size_t side_bytes_ = 0;
  std::map<PageClass, size_t> claims_;
};

}  // namespace skvis
