// SPDX-License-Identifier: Apache-2.0
// TreeKV (He et al., IJCAI 2025): the weaker of two neighbours goes, while a pointer sweeps the
// region of old rows. After a sweep every second of them is gone, after two three of four, so that
// density falls smoothly with age and no stretch of text can starve.
//
//   strength[j] = mean attention that row j received: its total over the queries since it came
//   while the region holds more rows than it may:
//     of the rows at the pointer and after it the weaker goes (of equal ones the older)
//     the pointer moves on by one, and to the front from the last row but one
//
// The region is what may be dropped: sinks and `recent` rows lie outside. The paper evicts one row
// per token; a grid point plays the evictions of its step in a row, with strengths as they are
// then. Positions stay true ones (the paper renumbers rows, for streams beyond the trained
// context). `strength` age uses no attention: always the older of the two, the paper's ablation.
#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr std::array<std::string_view, 2> kStrengths = {"attention", "age"};
constexpr Parameter kStrength = {
    .name = "strength", .fallback = 0, .min = 0, .max = 1, .words = kStrengths};
constexpr std::array<Parameter, 1> kParameters = {kStrength};

SelectorNeeds needs(const Settings& settings) {
  return {.totals = value_of(settings, kStrength) == 0};
}

void score(const Settings&, const SelectorView& view, float* scores) {
  for (uint32_t j = 0; j < view.rows; ++j) {
    const auto queries = static_cast<float>(view.tokens - view.positions[j]);
    scores[j] = view.totals == nullptr ? 0.0f : view.totals[j] / queries;
  }
}

// Rows that the competition removes get minus infinity: the others stay, as many as the head keeps.
void rerank(const Settings&, const SelectorView& view, float* scores) {
  std::vector<uint32_t> region;
  for (uint32_t j = 0; j < view.rows; ++j) {
    if (view.droppable[j]) region.push_back(j);
  }
  const size_t fixed = view.rows - region.size();
  const size_t quota = view.keep - std::min<size_t>(view.keep, fixed);
  auto pointer = static_cast<size_t>(view.head_state[0]);
  while (region.size() > quota) {
    if (pointer + 1 >= region.size()) pointer = 0;
    const bool alone = region.size() == 1;
    const bool older = alone || scores[region[pointer]] <= scores[region[pointer + 1]];
    const auto victim = region.begin() + static_cast<ptrdiff_t>(older ? pointer : pointer + 1);
    scores[*victim] = -std::numeric_limits<float>::infinity();
    region.erase(victim);
    pointer = quota > 0 ? (pointer + 1) % quota : 0;
  }
  view.head_state[0] = static_cast<float>(pointer);
}

}  // namespace

const Selector kTree = {
    .name = "tree",
    .summary = "the weaker of two neighbours goes, density falls with age (TreeKV)",
    .horizon = Horizon::grid,
    .sees_later_queries = true,
    .parameters = kParameters,
    .state_per_head = 1,
    .needs = needs,
    .score = score,
    .rerank = rerank,
};

}  // namespace skvis
