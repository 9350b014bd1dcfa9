// SPDX-License-Identifier: Apache-2.0
// Does a model under a plan still find a number that was hidden in its prompt?
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "eval/cells.hpp"
#include "eval/compared_plans.hpp"
#include "eval/needle_text.hpp"
#include "eval/statistics.hpp"

namespace skvis {

struct NeedleRun {
  NeedleSettings settings;
  uint32_t prompts = 24;
  uint32_t new_tokens = 10;  // the number must be among so many greedy tokens
};

// How many digits of `number` the first number in `answer` begins with: a needle may be found and
// its end be lost, since the queries that choose rows have seen only where it begins.
uint32_t leading_digits(std::string_view answer, std::string_view number);

// What one plan did, over all prompts.
struct NeedleSummary {
  Estimate right;                // share of questions; prompts are the sample
  Estimate difference;           // to the baseline, prompt by prompt
  double digits = 0;             // leading digits of the numbers that were right, of five
  std::vector<double> per_turn;  // share of right answers in each turn
  double kv_bytes = 0;           // of pages, after the first prompt, on average
  double row_bytes = 0;          // of these, live rows
  double full_bytes = 0;         // what the full cache holds then
  double rows_share = 0;         // rows held then, of all rows of all heads
  double nominal = 0;            // what the plan asks for
};

// Asks every prompt under every plan, the same prompts for all, except for what `cells` holds
// already. Plans that settle at the prompt's end only share one exact reading of the prompt.
// `progress(done, total)` counts prompts times plans. Summaries in the order of the plans.
Result<std::vector<NeedleSummary>> run_needles(
    const ComparedPlans& plans, const NeedleRun& run, const std::string& filler, CellFile& cells,
    const std::function<void(size_t, size_t)>& progress = {});

}  // namespace skvis
