// SPDX-License-Identifier: Apache-2.0
// What the tests of budgets that read scores share: a few heads with scores, to ask any of them.
#pragma once

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "budgets/budget.hpp"

namespace skvis::testing {

struct ScoredHeads {
  uint32_t layers = 1;
  uint32_t kv_heads = 2;
  Amount amount = {AmountUnit::ratio, 0.5};
  double safeguard = 0.2;
  uint32_t tokens = 0;
  uint32_t protected_rows = 0;
  std::vector<std::vector<float>> scores = {};
  std::vector<uint32_t> fixed = {};  // empty: none
  std::vector<uint8_t> selectable = {};

  enum Ask { counts, bound, shares };
  std::vector<uint32_t> ask(std::string_view name, Ask what = counts) const {
    CacheShape shape;
    shape.layers = layers;
    shape.kv_heads = shape.query_heads = kv_heads;
    shape.window.assign(layers, 0);
    const uint32_t heads = layers * kv_heads;
    const Settings settings = {{"safeguard", safeguard}};
    const std::vector<std::span<const float>> spans(scores.begin(), scores.end());
    const std::vector<uint8_t> all(heads, 1);
    const std::vector<uint32_t> none(heads, 0);
    const BudgetRequest request{.shape = &shape,
                                .amount = amount,
                                .settings = &settings,
                                .selectable = selectable.empty() ? all : selectable,
                                .tokens = tokens,
                                .protected_rows = protected_rows,
                                .scores = spans,
                                .fixed_rows = fixed.empty() ? none : fixed};
    std::vector<uint32_t> result(heads);
    const Budget* budget = find_budget(name);
    (what == counts  ? budget->counts
     : what == bound ? budget->upper_bound
                     : budget->shares)(request, result);
    return result;
  }
};

inline uint64_t sum(const std::vector<uint32_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

}  // namespace skvis::testing
