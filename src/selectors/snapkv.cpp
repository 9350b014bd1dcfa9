// SPDX-License-Identifier: Apache-2.0
// SnapKV (Li et al., 2024): what the last queries attended to, pooled over neighbouring rows so
// that what surrounds an important token stays with it.
//
//   mean[g, j] = column sum of the last `observe` queries of query head g / their number
//   pooled[g, j] = average or maximum of mean[g, j - kernel/2 .. j + kernel/2], zeros outside
//   score[j] = mean or maximum of pooled[., j] over the query heads of the KV head
//
// Only rows before the observation window are pooled, and the window's own rows lie outside: their
// columns are causal, hence biased towards old ones. They get the highest score instead. Pooling
// comes before the reduction over the group; with maxima the other order would choose differently.
#include "selectors/snapkv.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr std::array<Parameter, 4> kParameters = {snapkv::kObserve, snapkv::kKernel, snapkv::kPool,
                                                  snapkv::kGroup};

// A damaged column must not decide: NaN, infinite and negative sums count as no attention.
double clean(float sum) {
  return std::isfinite(sum) && sum > 0 ? static_cast<double>(sum) : 0.0;
}

// The pooled value j of one query head's clean columns [rows], zeros outside.
double pooled(std::span<const double> columns, uint32_t j, uint32_t kernel, bool maximum) {
  const uint32_t half = kernel / 2;
  const size_t end = std::min<size_t>(columns.size(), j + half + 1);
  double sum = 0;
  double largest = 0;
  for (size_t i = j > half ? j - half : 0; i < end; ++i) {
    sum += columns[i];
    largest = std::max(largest, columns[i]);
  }
  return maximum ? largest : sum / kernel;
}

}  // namespace

namespace snapkv {

SelectorNeeds needs(const Settings& settings) {
  return {.observe = whole_of(settings, kObserve), .neighbours = whole_of(settings, kKernel) / 2};
}

void score(const Settings& settings, const SelectorView& view, float* scores) {
  const uint32_t kernel = whole_of(settings, kKernel);
  const bool pool_maximum = value_of(settings, kPool) == 1;
  const bool group_maximum = value_of(settings, kGroup) == 1;

  // Rows of the observation window: the positions of the queries that the sums run over.
  const uint32_t window_begin = view.tokens > view.query_rows ? view.tokens - view.query_rows : 0;
  const uint32_t* end = view.positions + view.rows;
  const auto judged =
      static_cast<uint32_t>(std::lower_bound(view.positions, end, window_begin) - view.positions);

  const double scale = 1.0 / std::max<uint32_t>(view.query_rows, 1);
  const uint32_t begin = std::min(view.columns_from, judged);
  std::vector<double> columns(judged - begin);
  std::vector<double> reduced(judged - begin);
  for (uint32_t g = 0; g < view.group_size; ++g) {
    const float* of_head = view.columns + size_t{g} * view.rows;
    std::transform(of_head + begin, of_head + judged, columns.begin(), clean);
    for (uint32_t j = 0; j < columns.size(); ++j) {
      const double value = pooled(columns, j, kernel, pool_maximum) * scale;
      reduced[j] = group_maximum ? std::max(reduced[j], value) : reduced[j] + value;
    }
  }
  float highest = 0;
  std::fill(scores, scores + begin, 0.0f);
  for (uint32_t j = begin; j < judged; ++j) {
    const double sum = reduced[j - begin];
    scores[j] = static_cast<float>(group_maximum ? sum : sum / view.group_size);
    highest = std::max(highest, scores[j]);
  }
  std::fill(scores + judged, scores + view.rows, highest + 1.0f);
}

}  // namespace snapkv

const Selector kSnapkv = {
    .name = "snapkv",
    .summary = "what the last queries attended to, pooled over neighbours (SnapKV)",
    .horizon = Horizon::grid,
    .sees_later_queries = true,
    .parameters = kParameters,
    .needs = snapkv::needs,
    .score = snapkv::score,
};

}  // namespace skvis
