// SPDX-License-Identifier: Apache-2.0
// LagKV (Liang et al., 2025): how far a row strays from what the rows after it are like.
//
//   behind `skip` first rows, partitions of `lag` rows and a shorter rest
//   u[j, c]  = (x[j, c] - min[c]) / (max[c] - min[c])    over the NEXT partition, for each channel
//   spread   = softmax over the partition of the standard deviation of u[j, .] over the channels
//   score[j] = rank in its partition of (spread of keys + spread of values) / 2, from 0 to 1
//
// Ranks make every partition lose the same share. First rows, the last partition and the rest have
// nothing to be compared with and score 1. With fewer than two partitions the newest rows stay.
// Rows are counted as they stand in the head: what was dropped before leaves no gap.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr Parameter kLag = {.name = "lag", .fallback = 128, .min = 2, .max = 4096};
constexpr Parameter kSkip = {.name = "skip", .fallback = 4, .min = 0, .max = 64};
constexpr std::array<Parameter, 2> kParameters = {kLag, kSkip};
constexpr double kNarrowest = 1e-6;  // of a channel's range

SelectorNeeds needs(const Settings&) {
  return {.keys = true, .values = true};
}

// Adds to spread [lag] the softmax of the deviations of rows [begin, begin + lag), on the scale of
// the `lag` rows after them.
void add_spread(RowsView rows, size_t begin, size_t lag, std::vector<double>& spread) {
  std::vector<double> low(rows.head_dim, INFINITY), high(rows.head_dim, -INFINITY);
  for (size_t j = begin + lag; j < begin + 2 * lag; ++j) {
    for (size_t c = 0; c < rows.head_dim; ++c) {
      low[c] = std::min<double>(low[c], rows.row(j)[c]);
      high[c] = std::max<double>(high[c], rows.row(j)[c]);
    }
  }
  std::vector<double> deviation(lag);
  for (size_t j = 0; j < lag; ++j) {
    const float* row = rows.row(begin + j);
    double sum = 0, squares = 0;
    for (size_t c = 0; c < rows.head_dim; ++c) {
      const double u = (row[c] - low[c]) / std::max(high[c] - low[c], kNarrowest);
      sum += u;
      squares += u * u;
    }
    const auto channels = static_cast<double>(rows.head_dim);
    const double variance = (squares - sum * sum / channels) / (channels - 1);
    deviation[j] = std::sqrt(std::max(variance, 0.0));
  }
  const double highest = *std::max_element(deviation.begin(), deviation.end());
  double total = 0;
  for (double& x : deviation) total += x = std::exp(x - highest);
  for (size_t j = 0; j < lag; ++j) spread[j] += deviation[j] / total;
}

void score(const Settings& settings, const SelectorView& view, float* scores) {
  const size_t lag = whole_of(settings, kLag);
  const size_t skip = whole_of(settings, kSkip);
  if (view.rows < skip + 2 * lag) {
    for (uint32_t j = 0; j < view.rows; ++j) scores[j] = static_cast<float>(j);
    return;
  }
  std::fill_n(scores, view.rows, 1.0f);
  const size_t partitions = (view.rows - skip) / lag;
  std::vector<size_t> order(lag);
  for (size_t p = 0; p + 1 < partitions; ++p) {
    const size_t begin = skip + p * lag;
    std::vector<double> spread(lag);
    add_spread(view.keys, begin, lag, spread);
    add_spread(view.values, begin, lag, spread);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return spread[a] < spread[b]; });
    for (size_t rank = 0; rank < lag; ++rank) {
      scores[begin + order[rank]] = static_cast<float>(rank) / static_cast<float>(lag);
    }
  }
}

}  // namespace

const Selector kLagkv = {
    .name = "lagkv",
    .summary = "rows that stray from what follows them (LagKV)",
    .horizon = Horizon::grid,
    .parameters = kParameters,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
