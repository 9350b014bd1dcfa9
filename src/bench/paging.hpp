// SPDX-License-Identifier: Apache-2.0
// What it would cost, or save, if heads shared pages (Tangram, 2026, "Ragged Paging"): a group of
// heads has one list of pages, each page holds a row of every member in each slot, and the group is
// as long as its longest member. The cache has groups of one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "plan/plan.hpp"

namespace skvis {

// Which heads form a group: neighbours as they are numbered; neighbours of a layer's heads sorted
// by how much they keep; neighbours of all heads, sorted.
enum class HeadMap : uint8_t { identity, per_layer, global };
using HeadGroups = std::vector<std::vector<uint32_t>>;

// [groups][members] Every head once, in groups of `size` and at most one smaller one. rows [heads]
// is what each keeps; heads that keep 0 hold no pages. Sorted maps waste as little as any map of
// their kind: where one group is smaller, it stands where that is least. Empty: per_layer, and
// `size` does not divide the KV heads.
HeadGroups group_heads(std::span<const uint32_t> rows, const CacheShape& shape, uint32_t size,
                       HeadMap map);

struct PagingCost {
  uint64_t rows = 0;              // kept, of all heads
  uint64_t reserved = 0;          // rows if every member is as long as its group's longest
  uint64_t pages = 0;             // entries of page tables
  uint64_t page_rows = 0;         // rows that the pages have room for
  uint64_t table_bytes = 0;       // of entries, masks and positions
  double waste() const;           // of the map: 1 - rows / reserved
  double waste_in_pages() const;  // with what last pages leave empty: 1 - rows / page_rows
};
PagingCost paging_cost(const HeadGroups& groups, std::span<const uint32_t> rows);

// [heads] sealed rows that a plan keeps of a prompt: its budget's counts less the sinks.
std::vector<uint32_t> sealed_rows(const Plan& plan, uint32_t tokens);

// A plan's heads on another shape: shares drawn from those of the plan's own heads, the same every
// time.
std::vector<uint32_t> resampled_rows(std::span<const uint32_t> rows, uint32_t heads);

// Prints and answers waste, entries, bytes and the time that settling spends on tables and on the
// pool's lists, for groups of 1, 2, 4 and 8 heads and each map.
struct PagingBench {
  std::vector<uint32_t> tokens = {1024, 4096, 16384};
  uint32_t repeats = 11;
  // Another shape to draw the plan's heads for; 0: the plan's own.
  uint32_t layers = 0;
  uint32_t kv_heads = 0;
};
Result<Json> bench_paging(const Plan& plan, const PagingBench& options);

}  // namespace skvis
