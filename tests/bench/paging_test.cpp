// SPDX-License-Identifier: Apache-2.0
#include "bench/paging.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstddef>
#include <random>

#include "cache/page_table.hpp"

namespace skvis {
namespace {

using testing::ElementsAre;

CacheShape shape_of(uint32_t layers, uint32_t kv_heads) {
  CacheShape shape;
  shape.layers = layers;
  shape.kv_heads = shape.query_heads = kv_heads;
  return shape;
}

TEST(HeadGroups, by_hand) {
  const std::vector<uint32_t> rows = {10, 90, 20, 80, 30, 70};
  const CacheShape shape = shape_of(3, 2);
  const auto waste = [&](HeadMap map) {
    return paging_cost(group_heads(rows, shape, 2, map), rows).reserved;
  };
  EXPECT_THAT(group_heads(rows, shape, 2, HeadMap::identity),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3), ElementsAre(4, 5)));
  EXPECT_EQ(waste(HeadMap::identity), 2u * (90 + 80 + 70));
  EXPECT_EQ(waste(HeadMap::per_layer), 2u * (90 + 80 + 70));
  EXPECT_THAT(group_heads(rows, shape, 2, HeadMap::global),
              ElementsAre(ElementsAre(1, 3), ElementsAre(5, 4), ElementsAre(2, 0)));
  EXPECT_EQ(waste(HeadMap::global), 2u * (90 + 70 + 20));
}

// One long head and two short ones: the smaller group is the long one's.
TEST(HeadGroups, the_smaller_group_stands_where_it_wastes_least) {
  const std::vector<uint32_t> rows = {1, 10, 1};
  const HeadGroups groups = group_heads(rows, shape_of(1, 3), 2, HeadMap::global);
  EXPECT_THAT(groups, ElementsAre(ElementsAre(1), ElementsAre(0, 2)));
  EXPECT_EQ(paging_cost(groups, rows).waste(), 0);
  EXPECT_EQ(group_heads(rows, shape_of(1, 3), 2, HeadMap::identity).back().size(), 1u);
}

TEST(HeadGroups, maps_per_layer_need_a_size_that_divides_the_heads) {
  const std::vector<uint32_t> rows(90, 5);
  EXPECT_TRUE(group_heads(rows, shape_of(30, 3), 2, HeadMap::per_layer).empty());
  EXPECT_EQ(group_heads(rows, shape_of(30, 3), 3, HeadMap::per_layer).size(), 30u);
  EXPECT_EQ(group_heads(rows, shape_of(30, 3), 4, HeadMap::global).size(), 23u);
}

TEST(HeadGroups, sorting_never_wastes_more_and_across_layers_least) {
  std::mt19937 random(4);
  size_t strictly = 0;
  for (int round = 0; round < 400; ++round) {
    const CacheShape shape = shape_of(1 + random() % 6, 1 + random() % 12);
    const uint32_t size = 1 + random() % 9;
    std::vector<uint32_t> rows(shape.heads());
    for (uint32_t& each : rows) each = random() % 1000;
    const auto reserved = [&](HeadMap map) {
      const HeadGroups groups = group_heads(rows, shape, size, map);
      if (groups.empty()) return uint64_t{0};
      std::vector<uint32_t> seen;
      for (const auto& group : groups) seen.insert(seen.end(), group.begin(), group.end());
      std::sort(seen.begin(), seen.end());
      EXPECT_EQ(seen.size(), shape.heads());
      for (uint32_t head = 0; head < seen.size(); ++head) EXPECT_EQ(seen[head], head);
      return paging_cost(groups, rows).reserved;
    };
    const uint64_t identity = reserved(HeadMap::identity);
    const uint64_t per_layer = reserved(HeadMap::per_layer);
    const uint64_t global = reserved(HeadMap::global);
    EXPECT_LE(global, identity);
    if (per_layer == 0) continue;
    EXPECT_LE(global, per_layer);
    EXPECT_LE(per_layer, identity);
    strictly += global < per_layer && per_layer < identity ? 1 : 0;
    if (size == 1) {
      EXPECT_EQ(paging_cost(group_heads(rows, shape, 1, HeadMap::global), rows).waste(), 0);
    }
  }
  EXPECT_GT(strictly, 20u);
}

TEST(PagingCost, pages_entries_and_bytes_by_hand) {
  const std::vector<uint32_t> rows = {100, 65, 0};
  const PagingCost alone = paging_cost({{0}, {1}, {2}}, rows);
  EXPECT_EQ(alone.pages, 4u);
  EXPECT_EQ(alone.page_rows, 256u);
  EXPECT_DOUBLE_EQ(alone.waste(), 0);
  EXPECT_DOUBLE_EQ(alone.waste_in_pages(), 1 - 165.0 / 256);
  EXPECT_EQ(alone.table_bytes, 4 * sizeof(PageEntry) + 165 * 4);
  const PagingCost together = paging_cost({{0, 1, 2}}, rows);
  EXPECT_EQ(together.pages, 2u);
  EXPECT_EQ(together.page_rows, 384u);
  EXPECT_DOUBLE_EQ(together.waste(), 1 - 165.0 / 300);
  EXPECT_EQ(together.table_bytes, 2 * (3 * sizeof(PageEntry) - 2 * 8) + 300 * 4);
}

TEST(PagingCost, equal_heads_waste_nothing) {
  const std::vector<uint32_t> rows(24, 640);
  for (const HeadMap map : {HeadMap::identity, HeadMap::per_layer, HeadMap::global}) {
    const PagingCost cost = paging_cost(group_heads(rows, shape_of(6, 4), 4, map), rows);
    EXPECT_EQ(cost.waste(), 0);
    EXPECT_EQ(cost.waste_in_pages(), 0);
    EXPECT_EQ(cost.pages, 60u);
  }
}

TEST(SealedRows, are_the_counts_of_the_plan_without_sinks) {
  CacheShape shape = shape_of(2, 2);
  shape.head_dim = 64;
  const auto plan = resolve_plan(
      R"({"sinks": 4, "recent": 60, "keep": {"selector": "streaming", "budget": "calibrated",
          "table": [[1, 0.5], [0.25, 0]]}})",
      shape);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_THAT(sealed_rows(*plan, 1064), ElementsAre(1060, 560, 310, 60));
  EXPECT_EQ(resampled_rows(sealed_rows(*plan, 1064), 128).size(), 128u);
}

TEST(PagingBench, reports_every_size_and_map_that_exists) {
  CacheShape shape = shape_of(2, 2);
  shape.head_dim = 64;
  const auto plan = resolve_plan(
      R"({"keep": {"selector": "streaming", "budget": "calibrated",
          "table": [[1, 0.5], [0.25, 0]]}})",
      shape);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const auto report = bench_paging(*plan, {.tokens = {512}, .repeats = 1});
  ASSERT_TRUE(report.ok()) << report.error().message;
  // Groups of 1 once, of 2 in three maps, of 4 and 8 (all heads) in two.
  ASSERT_EQ((*report)["cases"].size(), 8u);
  for (const Json& one : (*report)["cases"]) {
    EXPECT_GT(one["settle_seconds"].get<double>(), 0);
    EXPECT_GE(one["waste_in_pages"].get<double>(), one["waste"].get<double>());
  }
}

}  // namespace
}  // namespace skvis
