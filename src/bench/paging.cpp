// SPDX-License-Identifier: Apache-2.0
#include "bench/paging.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <random>

#include "bench/bandwidth.hpp"
#include "cache/page_table.hpp"

namespace skvis {
namespace {

constexpr std::array<uint32_t, 4> kSizes = {1, 2, 4, 8};
constexpr std::array<std::pair<HeadMap, std::string_view>, 3> kMaps = {
    {{HeadMap::identity, "identity"},
     {HeadMap::per_layer, "sorted per layer"},
     {HeadMap::global, "sorted globally"}}};
// Of an entry, what a group shares: the page's number and how many slots are filled. Masks,
// positions and their list belong to each member.
constexpr size_t kSharedBytes = sizeof(PageEntry::page) + sizeof(PageEntry::filled);
constexpr size_t kMemberBytes = sizeof(PageEntry) - kSharedBytes;

uint32_t longest(const std::vector<uint32_t>& group, std::span<const uint32_t> rows) {
  uint32_t most = 0;
  for (const uint32_t head : group) most = std::max(most, rows[head]);
  return most;
}

uint64_t reserved_rows(const HeadGroups& groups, std::span<const uint32_t> rows) {
  uint64_t sum = 0;
  for (const auto& group : groups) sum += group.size() * uint64_t{longest(group, rows)};
  return sum;
}

// Runs of `size`; the run number `smaller` takes what is left over.
HeadGroups cut(std::span<const uint32_t> order, uint32_t size, size_t smaller) {
  const size_t rest = order.size() % size;
  HeadGroups groups;
  for (size_t begin = 0; begin < order.size();) {
    const size_t count = rest != 0 && groups.size() == smaller ? rest : size;
    const auto run = order.subspan(begin, std::min(count, order.size() - begin));
    groups.emplace_back(run.begin(), run.end());
    begin += run.size();
  }
  return groups;
}

uint32_t pages_of(uint32_t rows) {
  return (rows + kPageSlots - 1) / kPageSlots;
}

// One sequence's tables, as settling makes them: at each grid point a group's last page, where it
// is not full, is packed anew with the rows that follow.
class Tables {
 public:
  // classes [groups]
  Tables(const HeadGroups& groups, const std::vector<PageClass>& classes, Pool& pool)
      : groups_(groups), classes_(classes), pool_(pool) {
    for (const auto& group : groups) tables_.emplace_back(group.size());
  }
  ~Tables() {
    for (auto& members : tables_) {
      for (const PageEntry& entry : members[0].pages)
        pool_.free(entry.page, kUnreserved, entry.live);
    }
  }
  // Every group as long as `rows` [groups] says. False: no memory.
  bool settle(std::span<const uint32_t> rows) {
    for (size_t g = 0; g < groups_.size(); ++g) {
      std::vector<PageTable>& members = tables_[g];
      std::vector<PageEntry>& pages = members[0].pages;
      if (!pages.empty() && pages.back().filled < kPageSlots) {
        pool_.free(pages.back().page, kUnreserved, pages.back().live);
        for (PageTable& member : members) member.pages.pop_back();
      }
      while (pages.size() < pages_of(rows[g])) {
        const auto first = static_cast<uint32_t>(pages.size()) * kPageSlots;
        if (!append(g, std::min(kPageSlots, rows[g] - first), first)) return false;
      }
    }
    return true;
  }

 private:
  bool append(size_t g, uint32_t filled, uint32_t first) {
    PageEntry entry;
    entry.page = pool_.allocate(classes_[g], kUnreserved);
    if (entry.page == kNoPage) return false;
    entry.filled = filled;
    entry.first = 3 * first;
    entry.live = filled == 64 ? ~uint64_t{0} : (uint64_t{1} << filled) - 1;
    pool_.add_live(entry.page, entry.live);
    for (PageTable& member : tables_[g]) {  // kept rows have gaps, each head its own
      entry.positions.resize(filled);
      for (uint32_t slot = 0; slot < filled; ++slot) entry.positions[slot] = entry.first + 3 * slot;
      member.pages.push_back(entry);
    }
    return true;
  }

  const HeadGroups& groups_;
  const std::vector<PageClass>& classes_;
  Pool& pool_;
  std::vector<std::vector<PageTable>> tables_;  // [groups][members]
};

// Median seconds that one grid point spends on tables and on the pool's lists. Rows are of one byte
// here: what memory costs follows from the bytes and would hide the rest.
Result<double> settle_seconds(const HeadGroups& groups, std::span<const uint32_t> rows,
                              uint32_t tokens, uint32_t repeats) {
  constexpr uint32_t kStep = SettleRule{}.step;
  const PagingCost cost = paging_cost(groups, rows);
  SKVIS_TRY(Pool pool, Pool::create(16 * cost.page_rows + 64 * Pool::kHugeSlabBytes));
  std::vector<PageClass> classes;
  for (const auto& group : groups) {
    SKVIS_TRY(const PageClass page_class, pool.page_class(kPageSlots * group.size(), kPageSlots));
    classes.push_back(page_class);
  }
  std::vector<double> seconds;
  for (uint32_t repeat = 0; repeat < repeats; ++repeat) {
    Tables tables(groups, classes, pool);
    for (uint32_t at = kStep; at <= tokens; at += kStep) {
      std::vector<uint32_t> now;
      for (const auto& group : groups) {
        now.push_back(static_cast<uint32_t>(uint64_t{longest(group, rows)} * at / tokens));
      }
      const auto start = std::chrono::steady_clock::now();
      if (!tables.settle(now)) return fail("no memory for pages of {} rows", cost.page_rows);
      seconds.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  return median(seconds);
}

}  // namespace

HeadGroups group_heads(std::span<const uint32_t> rows, const CacheShape& shape, uint32_t size,
                       HeadMap map) {
  std::vector<uint32_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0u);
  if (map == HeadMap::identity) return cut(order, size, order.size() / size);
  if (map == HeadMap::per_layer && shape.kv_heads % size != 0) return {};
  const size_t span = map == HeadMap::per_layer ? shape.kv_heads : order.size();
  for (size_t begin = 0; begin < order.size(); begin += span) {
    const auto first = order.begin() + static_cast<ptrdiff_t>(begin);
    std::stable_sort(first, first + static_cast<ptrdiff_t>(span),
                     [&](uint32_t a, uint32_t b) { return rows[a] > rows[b]; });
  }
  HeadGroups best = cut(order, size, order.size() / size);
  for (size_t smaller = 0; order.size() % size != 0 && smaller < order.size() / size; ++smaller) {
    HeadGroups groups = cut(order, size, smaller);
    if (reserved_rows(groups, rows) < reserved_rows(best, rows)) best = std::move(groups);
  }
  return best;
}

double PagingCost::waste() const {
  return reserved == 0 ? 0 : 1 - static_cast<double>(rows) / static_cast<double>(reserved);
}

double PagingCost::waste_in_pages() const {
  return page_rows == 0 ? 0 : 1 - static_cast<double>(rows) / static_cast<double>(page_rows);
}

PagingCost paging_cost(const HeadGroups& groups, std::span<const uint32_t> rows) {
  PagingCost cost;
  cost.reserved = reserved_rows(groups, rows);
  for (const auto& group : groups) {
    const uint32_t most = longest(group, rows);
    for (const uint32_t head : group) cost.rows += rows[head];
    cost.pages += pages_of(most);
    cost.page_rows += uint64_t{pages_of(most)} * kPageSlots * group.size();
    cost.table_bytes += pages_of(most) * (kSharedBytes + kMemberBytes * group.size()) +
                        most * sizeof(uint32_t) * group.size();
  }
  return cost;
}

std::vector<uint32_t> sealed_rows(const Plan& plan, uint32_t tokens) {
  std::vector<uint32_t> rows(plan.shape.heads(), tokens);
  if (plan.drops()) plan.keep.budget->counts(plan.budget_request(tokens), rows);
  for (uint32_t& count : rows) {
    count = std::max(count, std::min(tokens, plan.protected_rows()));
    count -= std::min(count, plan.sinks);
  }
  return rows;
}

std::vector<uint32_t> resampled_rows(std::span<const uint32_t> rows, uint32_t heads) {
  std::mt19937 random(1);
  std::vector<uint32_t> drawn;
  while (drawn.size() < heads) drawn.push_back(rows[random() % rows.size()]);
  return drawn;
}

Result<Json> bench_paging(const Plan& plan, const PagingBench& options) {
  CacheShape shape = plan.shape;
  if (options.layers > 0) {
    shape.layers = options.layers;
    shape.kv_heads = options.kv_heads;
  }
  const size_t row_bytes = plan.row_bytes[0];
  Json cases = Json::array();
  fmt::print("{} heads in {} layers, {} bytes a row, plan '{}'\n", shape.heads(), shape.layers,
             row_bytes, plan.name);
  for (const uint32_t tokens : options.tokens) {
    std::vector<uint32_t> rows = sealed_rows(plan, tokens);
    if (options.layers > 0) rows = resampled_rows(rows, shape.heads());
    fmt::print("{} tokens:\n", tokens);
    for (const uint32_t size : kSizes) {
      for (const auto& [map, name] : kMaps) {
        if (size == 1 && map != HeadMap::identity) continue;
        const HeadGroups groups = group_heads(rows, shape, size, map);
        if (groups.empty()) continue;
        const PagingCost cost = paging_cost(groups, rows);
        SKVIS_TRY(const double seconds, settle_seconds(groups, rows, tokens, options.repeats));
        const uint64_t bytes = cost.page_rows * row_bytes;
        fmt::print(
            "  {} heads a group, {:<16}: waste {:5.1f} %, with last pages {:5.1f} %; {:7.2f} MiB, "
            "{:5} entries, {:6.1f} KiB of tables; {:6.1f} us a settling\n",
            size, name, 100 * cost.waste(), 100 * cost.waste_in_pages(),
            static_cast<double>(bytes) / 0x1p20, cost.pages,
            static_cast<double>(cost.table_bytes) / 1024, 1e6 * seconds);
        std::fflush(stdout);
        cases.push_back({{"tokens", tokens},
                         {"group", size},
                         {"map", name},
                         {"waste", cost.waste()},
                         {"waste_in_pages", cost.waste_in_pages()},
                         {"bytes", bytes},
                         {"entries", cost.pages},
                         {"table_bytes", cost.table_bytes},
                         {"settle_seconds", seconds}});
      }
    }
  }
  return Json{{"bench", "paging"}, {"heads", shape.heads()}, {"plan", plan.name}, {"cases", cases}};
}

}  // namespace skvis
