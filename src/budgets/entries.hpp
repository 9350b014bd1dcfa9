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
extern const Budget kPrefix;
extern const Budget kEntropy;
extern const Budget kClasses;

// Rows that a head would hold of `tokens` tokens if none were dropped: a sliding layer's are at
// most its window, and a layer that reads another layer's rows has none.
uint32_t rows_without_dropping(const CacheShape& shape, uint32_t layer, uint32_t tokens);
// Does the head ever drop rows? Not where it keeps all, reads another layer's, or has none.
bool drops_rows(const BudgetRequest& request, uint32_t head);
// counts of layers that read another layer's rows become that layer's.
void repeat_owners(const CacheShape& shape, std::span<uint32_t> counts);
// Rows of one head that an amount in ratio or tokens allows, at most `tokens`.
uint32_t rows_of(const Amount& amount, uint32_t tokens);

// For budgets that move rows from head to head within a scope.
// The heads of each scope that drop rows; scopes without any are left out.
std::vector<std::vector<uint32_t>> heads_that_share(const BudgetRequest& request, Scope scope);
// Rows that a scope's heads may hold together, beyond those that each holds whatever its scores.
uint64_t rows_to_share(const BudgetRequest& request, std::span<const uint32_t> heads);
// Every head the amount: what counts() answers without scores, and the shares.
void share_alike(const BudgetRequest& request, std::span<uint32_t> counts);
// The upper bound: all rows of the scope but the protected ones of its other heads.
void bound_sharing(const BudgetRequest& request, Scope scope, std::span<uint32_t> counts);

}  // namespace skvis
