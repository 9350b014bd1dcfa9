// SPDX-License-Identifier: Apache-2.0
// Perplexity and divergence: a text is read through the caches of several plans in lock step, as it
// would be served, so that what a plan drops is gone for the rows that follow.
//
//   window:  [0 ............ from ............ window)
//             prompt          scored: the row at p gives the logits of the token at p + 1
//
// The prompt ends at `from`: plans that settle there do so, and its last row, which still saw every
// row, is not scored.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "eval/cells.hpp"
#include "eval/compared_plans.hpp"
#include "eval/statistics.hpp"

namespace skvis {

struct TextRun {
  uint32_t window = 2000;  // tokens read at a time, in an empty cache
  uint32_t stride = 2000;  // from the beginning of one window to the next
  uint32_t windows = 8;
  uint32_t from = 1000;  // the first row that is scored, below window - 1; 0: there is no prompt

  uint32_t scored() const { return window - 1 - from; }  // tokens of a window
};

// What one plan did, over all windows. Windows are the sample of every estimate.
struct TextSummary {
  Estimate nll;                     // mean negative log-likelihood of a token; e^mean is perplexity
  Estimate nll_difference;          // to the baseline
  double nll_difference_error = 0;  // the same mean's standard error, tokens being the sample
  Estimate divergence;              // KL(baseline || plan), nats a token
  double divergence_median = 0;     // median and 99 % quantile within a window, mean over windows
  double divergence_p99 = 0;
  double divergence_most = 0;  // of all tokens
  Estimate same_best;          // share of tokens where both have the same best token
  double probability_rms = 0;  // difference in the probability of the token that followed
  double kv_bytes = 0;         // of pages, mean over the scored part
  double row_bytes = 0;        // of these, live rows
  double full_bytes = 0;       // what the full cache would hold, likewise
  double rows_share = 0;       // rows held, of all rows of all heads, likewise
  double nominal = 0;          // what the plan asks for
};

// Fails where `ids` are too few for the windows. Cells, progress and order as in run_needles.
Result<std::vector<TextSummary>> run_text(const ComparedPlans& plans, const TextRun& run,
                                          std::span<const uint32_t> ids, CellFile& cells,
                                          const std::function<void(size_t, size_t)>& progress = {});

}  // namespace skvis
