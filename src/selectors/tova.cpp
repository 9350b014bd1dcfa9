// SPDX-License-Identifier: Apache-2.0
// TOVA (Oren et al., 2024): what the newest query attends to, one list for all heads of a layer.
//
//   score[j] = mean over all query heads of the layer of the newest query's probability of row j
//
// The newest row itself is not judged: plans protect it (`recent` is 1 unless they say otherwise).
// The paper evicts one row per generated token; here a grid point evicts those of its step at once.
#include <algorithm>
#include <cmath>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

SelectorNeeds needs(const Settings&) {
  return {.observe = 1, .reduce = GroupReduce::mean, .neighbours = 0};
}

// Of one KV head; settling takes the mean over the layer.
void score(const Settings&, const SelectorView& view, float* scores) {
  for (uint32_t j = 0; j < view.rows; ++j) {
    scores[j] = std::isfinite(view.columns[j]) ? view.columns[j] : 0.0f;
  }
}

}  // namespace

const Selector kTova = {
    .name = "tova",
    .summary = "what the newest query attends to, alike in all heads of a layer (TOVA)",
    .horizon = Horizon::grid,
    .sees_later_queries = true,
    .per_layer = true,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
