// SPDX-License-Identifier: Apache-2.0
// DuoAttention (Xiao et al., 2024): a few heads, the retrieval heads, look far back and keep every
// row; the others, streaming heads, keep their sinks and recent rows only.
//
// The table holds a score for each head. The best `retrieval` of all heads that drop rows are
// retrieval heads; of equal scores the lower head first. How much of a text that keeps depends on
// its length, so the share of heads is a parameter of its own and not the plan's `ratio`, which
// everywhere else is a share of tokens.
#include <algorithm>
#include <array>
#include <cmath>

#include "budgets/entries.hpp"

namespace skvis {
namespace {

// The share that the authors use for models with grouped queries.
constexpr Parameter kRetrieval = {
    .name = "retrieval", .fallback = 0.5, .min = 0, .max = 1, .whole = false};
constexpr std::array<Parameter, 1> kParameters = {kRetrieval};

void count(const BudgetRequest& request, std::span<uint32_t> counts) {
  std::fill(counts.begin(), counts.end(), request.tokens);
  for (auto& heads : heads_that_share(request, Scope::model)) {
    std::stable_sort(heads.begin(), heads.end(), [&](uint32_t a, uint32_t b) {
      return request.head_scores[a] > request.head_scores[b];
    });
    const double share = value_of(*request.settings, kRetrieval);
    const auto whole = static_cast<size_t>(std::round(share * static_cast<double>(heads.size())));
    for (size_t i = whole; i < heads.size(); ++i) {
      counts[heads[i]] = std::min(request.tokens, request.protected_rows);
    }
  }
  repeat_owners(*request.shape, counts);
}

}  // namespace

const Budget kClasses = {
    .name = "classes",
    .summary =
        "heads that keep every row, and heads that keep sinks and recent rows (DuoAttention)",
    .needs_table = true,
    .table_of_scores = true,
    .takes_amount = false,
    .parameters = kParameters,
    .counts = count,
    .upper_bound = count,  // only grows with the sequence
};

}  // namespace skvis
