// SPDX-License-Identifier: Apache-2.0
// Explicit amounts: the plan says for each (layer, KV head) what share of the tokens, or how many
// tokens, it keeps.
#include "budgets/entries.hpp"

namespace skvis {
namespace {

void counts(const BudgetRequest& request, std::span<uint32_t> counts) {
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i] =
        request.selectable[i] != 0 ? rows_of(request.table[i], request.tokens) : request.tokens;
  }
  repeat_owners(*request.shape, counts);
}

}  // namespace

const Budget kTable = {
    .name = "table",
    .summary = "a share or a number of tokens for each layer and head",
    .needs_table = true,
    .counts = counts,
    .upper_bound = counts,  // ratios and tokens only grow with the sequence
};

}  // namespace skvis
