// SPDX-License-Identifier: Apache-2.0
// The entries of the registry, one per file of this room, and what they share.
#pragma once

#include "budgets/budget.hpp"

namespace skvis {

extern const Budget kUniform;
extern const Budget kTable;
extern const Budget kPyramid;
extern const Budget kAda;
extern const Budget kCrossLayer;
extern const Budget kCalibrated;

// Rows that a head would hold of `tokens` tokens if none were dropped: a sliding layer's are at
// most its window, and a layer that reads another layer's rows has none.
uint32_t rows_without_dropping(const CacheShape& shape, uint32_t layer, uint32_t tokens);
// Does the head ever drop rows? Not where it keeps all, reads another layer's, or has none.
bool drops_rows(const BudgetRequest& request, uint32_t head);
// counts of layers that read another layer's rows become that layer's.
void repeat_owners(const CacheShape& shape, std::span<uint32_t> counts);
// Rows of one head that an amount in ratio or tokens allows, at most `tokens`.
uint32_t rows_of(const Amount& amount, uint32_t tokens);

}  // namespace skvis
