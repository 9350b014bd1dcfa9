// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "budgets/entries.hpp"

namespace skvis {

std::vector<std::vector<uint32_t>> heads_that_share(const BudgetRequest& request, Scope scope) {
  std::vector<std::vector<uint32_t>> groups(scope == Scope::layer ? request.shape->layers : 1);
  for (uint32_t i = 0; i < request.shape->heads(); ++i) {
    if (!drops_rows(request, i)) continue;
    groups[scope == Scope::layer ? request.shape->head(i).layer : 0].push_back(i);
  }
  std::erase_if(groups, [](const auto& heads) { return heads.empty(); });
  return groups;
}

uint64_t rows_to_share(const BudgetRequest& request, std::span<const uint32_t> heads) {
  const uint64_t total = heads.size() * uint64_t{rows_of(request.amount, request.tokens)};
  uint64_t fixed = 0;
  for (const uint32_t head : heads) fixed += request.fixed_rows[head];
  return total - std::min(total, fixed);
}

void share_alike(const BudgetRequest& request, std::span<uint32_t> counts) {
  for (uint32_t i = 0; i < counts.size(); ++i) {
    counts[i] = drops_rows(request, i) ? rows_of(request.amount, request.tokens) : request.tokens;
  }
  repeat_owners(*request.shape, counts);
}

// Rows of earlier grid points may leave a head no more than its protected ones.
void bound_sharing(const BudgetRequest& request, Scope scope, std::span<uint32_t> counts) {
  std::fill(counts.begin(), counts.end(), request.tokens);
  const uint64_t least = std::min(request.tokens, request.protected_rows);
  const uint64_t amount = std::max<uint64_t>(rows_of(request.amount, request.tokens), least);
  for (const auto& heads : heads_that_share(request, scope)) {
    const uint64_t most = heads.size() * amount - (heads.size() - 1) * least;
    for (const uint32_t head : heads) {
      counts[head] = static_cast<uint32_t>(std::min<uint64_t>(request.tokens, most));
    }
  }
  repeat_owners(*request.shape, counts);
}

}  // namespace skvis
