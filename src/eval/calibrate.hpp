// SPDX-License-Identifier: Apache-2.0
// Measures how a selector's rows spread over the heads, sample by sample, and makes of it what the
// budget `calibrated` reads (Tangram, 2026, "Budget Reservation").
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "engine/engine.hpp"

namespace skvis {

// Shares of the rows that could be dropped: [samples][heads], from 0 to 1.
using HeadShares = std::vector<std::vector<double>>;

struct BudgetProfile {
  std::vector<double> mean;       // [heads]
  std::vector<double> deviation;  // [heads] over the samples
  // Spearman's rank correlation of each sample's shares with the mean.
  double correlation_mean = 1;
  double correlation_worst = 1;

  // [heads] min(1, mean + alpha * deviation)
  std::vector<double> budget(double alpha) const;
};

// Reads every sample [tokens each] under the engine's plan, which settles once at the prompt's end
// and shares rows by score; notes what each head kept. `progress(done, total)`.
Result<HeadShares> measure_shares(Engine& engine, std::span<const std::vector<uint32_t>> samples,
                                  const std::function<void(size_t, size_t)>& progress = {});

// Needs one sample at least.
BudgetProfile profile_of(const HeadShares& shares);

// Rank correlation of two equally long lists, from -1 to 1; equal values share their mean rank. 1
// where one of them has a single value only.
double spearman(std::span<const double> a, std::span<const double> b);

// Rows that a budget reserves, relative to those kept on average, and the share of kept rows that
// it would cut off.
struct BudgetPrice {
  double reserve = 1;
  double cut = 0;
};
BudgetPrice price_of(std::span<const double> budget, const HeadShares& shares);

// A plan for the grid that keeps as `measured` does, with `budget` [heads] as the table of the
// budget `calibrated`, to four digits. Every row is stored in F16.
Json calibrated_plan(const Plan& measured, std::span<const double> budget);

}  // namespace skvis
