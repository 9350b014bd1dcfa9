// SPDX-License-Identifier: Apache-2.0
// AdaKV (Feng et al., 2024): the heads of a layer share their rows by score, so that heads whose
// attention spreads widely keep more; `cross-layer` shares among all heads of the model.
//
//   total    = sum over the heads of the amount, less what stays whatever its score
//   safe     = the best rows of each head, up to `safeguard` times the amount, stay with it
//   the rest = the best rows of all heads together; of equal scores the lower head's
//
// Protected rows count towards the amount and the safeguard, and so do rows that an earlier grid
// point kept.
#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <vector>

#include "budgets/entries.hpp"

namespace skvis {
namespace {

constexpr Parameter kSafeguard = {
    .name = "safeguard", .fallback = 0.2, .min = 0, .max = 1, .whole = false};
constexpr std::array<Parameter, 1> kParameters = {kSafeguard};

uint32_t safe_rows(const BudgetRequest& request, uint32_t tokens) {
  return static_cast<uint32_t>(value_of(*request.settings, kSafeguard) *
                               rows_of(request.amount, tokens));
}

// A row that no safeguard keeps.
struct Contender {
  float score = 0;
  uint32_t head = 0;
  bool operator>(const Contender& other) const {
    return score != other.score ? score > other.score : head < other.head;
  }
};

// Shares `total` rows among heads, beyond their fixed rows.
void share_by_score(const BudgetRequest& request, const std::vector<uint32_t>& heads,
                    std::span<uint32_t> counts) {
  const uint64_t total = rows_to_share(request, heads);
  uint64_t safe = 0;
  const uint32_t floor = safe_rows(request, request.tokens);
  std::vector<uint32_t> safe_of(heads.size());
  for (size_t i = 0; i < heads.size(); ++i) {
    const uint32_t own = request.fixed_rows[heads[i]];
    safe_of[i] = static_cast<uint32_t>(
        std::min<size_t>(request.scores[heads[i]].size(), floor - std::min(floor, own)));
    safe += safe_of[i];
  }
  // Rows of earlier grid points may leave less than the safeguards want.
  for (uint32_t& rows : safe_of) {
    if (safe > total) rows = static_cast<uint32_t>(rows * total / safe);
  }
  std::vector<Contender> contenders;
  for (size_t i = 0; i < heads.size(); ++i) {
    const auto scores = request.scores[heads[i]];
    std::vector<float> rest(scores.begin(), scores.end());
    std::nth_element(rest.begin(), rest.begin() + safe_of[i], rest.end(), std::greater<>());
    for (size_t row = safe_of[i]; row < rest.size(); ++row) {
      contenders.push_back({rest[row], heads[i]});
    }
    counts[heads[i]] = request.fixed_rows[heads[i]] + safe_of[i];
  }
  const uint64_t given = std::accumulate(safe_of.begin(), safe_of.end(), uint64_t{0});
  const size_t taken = std::min<size_t>(contenders.size(), total - given);
  std::nth_element(contenders.begin(), contenders.begin() + static_cast<ptrdiff_t>(taken),
                   contenders.end(), std::greater<>());
  for (size_t i = 0; i < taken; ++i) ++counts[contenders[i].head];
}

template <Scope kScope>
void count(const BudgetRequest& request, std::span<uint32_t> counts) {
  share_alike(request, counts);
  if (request.scores.empty()) return;
  for (const auto& heads : heads_that_share(request, kScope)) {
    share_by_score(request, heads, counts);
  }
  repeat_owners(*request.shape, counts);
}

template <Scope kScope>
void bound(const BudgetRequest& request, std::span<uint32_t> counts) {
  bound_sharing(request, kScope, counts);
}

}  // namespace

const Budget kAda = {
    .name = "ada",
    .summary = "shared by score among the heads of a layer (AdaKV)",
    .needs_scores = true,
    .scope = Scope::layer,
    .parameters = kParameters,
    .counts = count<Scope::layer>,
    .upper_bound = bound<Scope::layer>,
    .shares = share_alike,
};

const Budget kCrossLayer = {
    .name = "cross-layer",
    .summary = "shared by score among all heads",
    .needs_scores = true,
    .scope = Scope::model,
    .parameters = kParameters,
    .counts = count<Scope::model>,
    .upper_bound = bound<Scope::model>,
    .shares = share_alike,
};

}  // namespace skvis
