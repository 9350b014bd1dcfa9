// SPDX-License-Identifier: Apache-2.0
// Tangram's budget reservation (2026, "Budget Reservation"): what share of its droppable rows a
// head keeps is nearly a property of the model, so it is measured once (`skvis calibrate budget`)
// and known before a prompt is read.
//
//   rows = protected + table[head] * (tokens - protected)
//
// The table holds min(1, mean + alpha * deviation) over the samples of the calibration.
#include <algorithm>

#include "budgets/entries.hpp"

namespace skvis {
namespace {

void counts(const BudgetRequest& request, std::span<uint32_t> counts) {
  const uint32_t fixed = std::min(request.tokens, request.protected_rows);
  for (uint32_t i = 0; i < counts.size(); ++i) {
    counts[i] = drops_rows(request, i) ? fixed + rows_of(request.table[i], request.tokens - fixed)
                                       : request.tokens;
  }
  repeat_owners(*request.shape, counts);
}

}  // namespace

const Budget kCalibrated = {
    .name = "calibrated",
    .summary = "a measured share of the droppable rows of each head (Tangram)",
    .needs_table = true,
    .counts = counts,
    .upper_bound = counts,  // only grows with the sequence
};

}  // namespace skvis
