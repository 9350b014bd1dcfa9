// SPDX-License-Identifier: Apache-2.0
// CriticalKV (Feng et al., 2025): attention alone does not tell how much a row changes the output;
// its value, seen through the output projection, does too. Works on the scores of any selector.
//
//   the best `first` of the rows that a head keeps, by the selector's score, stay
//   score'[j] = (score[j] + epsilon) mean over the group of |W_o v_j| (sum of magnitudes)
//
// Budgets see the selector's own scores (as in the paper's AdaKV form): only the order changes.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <vector>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr Parameter kFirst = {.name = "first", .fallback = 0.5, .min = 0, .max = 1, .whole = false};
constexpr Parameter kSmallest = {
    .name = "smallest", .fallback = 1e-4, .min = 0, .max = 1, .whole = false};
constexpr std::array<Parameter, 2> kParameters = {kFirst, kSmallest};

SelectorNeeds needs(const Settings&) {
  return {.output_norms = true};
}

void apply(const Settings& settings, const SelectorView& view, float* scores) {
  // Rows that cannot be dropped are among the first stage's.
  std::vector<uint32_t> order;
  uint32_t fixed = 0;
  for (uint32_t j = 0; j < view.rows; ++j) {
    if (view.droppable[j]) {
      order.push_back(j);
    } else {
      ++fixed;
    }
  }
  const auto wanted = static_cast<uint32_t>(value_of(settings, kFirst) * view.keep);
  const size_t first = std::min<size_t>(order.size(), wanted - std::min(wanted, fixed));
  std::nth_element(order.begin(), order.begin() + static_cast<ptrdiff_t>(first), order.end(),
                   [&](uint32_t a, uint32_t b) {
                     return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                   });
  const double smallest = value_of(settings, kSmallest);
  for (size_t i = first; i < order.size(); ++i) {
    const uint32_t j = order[i];
    scores[j] = static_cast<float>((scores[j] + smallest) * view.output_norms[j]);
  }
  for (size_t i = 0; i < first; ++i) scores[order[i]] = std::numeric_limits<float>::max();
}

}  // namespace

const Refinement kCritical = {
    .name = "critical",
    .summary = "the weaker half by score times what the value adds to the output (CriticalKV)",
    .after_budget = true,
    .parameters = kParameters,
    .needs = needs,
    .apply = apply,
};

}  // namespace skvis
