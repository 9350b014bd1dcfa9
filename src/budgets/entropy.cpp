// SPDX-License-Identifier: Apache-2.0
// UNComp (Xiong et al., 2024), its head groups: queries of a head that use many directions (a high
// truncated matrix entropy) get more rows, those that use few get less.
//
// The table holds a score for each head, its entropy or the votes that `skvis calibrate entropy`
// counts. The heads of a layer are sorted by it, of equal scores the lower head first, and cut into
// `groups` equal parts that keep, in even steps,
//
//   amount * (1 + spread)  ...  amount * (1 - spread)
//
// so that the heads of a layer keep the amount on average, exactly. Where groups do not divide the
// heads, they are cut alike from both ends: of three heads in two groups the middle one keeps the
// amount. Groups move apart only as far as the sequence's tokens and the protected rows let them.
//
// Capacities of the published program: 256 and 512 tokens are tokens=384 spread=1/3; 384 and 768
// tokens=576 spread=1/3; 16 and 112 tokens=64 spread=0.75; its four groups 640, 470, 298, 128 are
// tokens=384 groups=4 spread=2/3 to a row.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "budgets/entries.hpp"
#include "budgets/head_groups.hpp"

namespace skvis {
namespace {

constexpr Parameter kGroups = {.name = "groups", .fallback = 2, .min = 1, .max = 64};
constexpr Parameter kSpread = {
    .name = "spread", .fallback = 1.0 / 3, .min = 0, .max = 1, .whole = false};
constexpr std::array<Parameter, 2> kParameters = {kGroups, kSpread};
// A third of 384 is 128, whatever the last digit of a third.
constexpr double kSlack = 1e-6;

// [heads] the level of each head that drops rows, among those of its layer.
std::vector<double> levels_of(const BudgetRequest& request) {
  std::vector<double> levels(request.shape->heads());
  for (auto& heads : heads_that_share(request, Scope::layer)) {
    std::stable_sort(heads.begin(), heads.end(), [&](uint32_t a, uint32_t b) {
      return request.head_scores[a] > request.head_scores[b];
    });
    for (uint32_t rank = 0; rank < heads.size(); ++rank) {
      levels[heads[rank]] = group_level(rank, static_cast<uint32_t>(heads.size()),
                                        whole_of(*request.settings, kGroups));
    }
  }
  return levels;
}

// What a head keeps on average, and how much more the first group keeps. A number of tokens is what
// a group keeps of any text; a ratio's mean must hold in short texts as well.
struct Rows {
  double mean = 0;
  double most = 0;
};
Rows rows_at(const BudgetRequest& request) {
  const bool ratio = request.amount.unit == AmountUnit::ratio;
  Rows rows;
  rows.mean = ratio ? request.amount.value * request.tokens : request.amount.value;
  rows.most = std::min(value_of(*request.settings, kSpread) * rows.mean,
                       rows.mean - request.protected_rows);
  if (ratio) rows.most = std::min(rows.most, request.tokens - rows.mean);
  rows.most = std::max(0.0, rows.most);
  return rows;
}

template <typename HeadRows>
void fill(const BudgetRequest& request, std::span<uint32_t> counts, HeadRows&& head_rows) {
  const std::vector<double> levels = levels_of(request);
  const Rows rows = rows_at(request);
  for (uint32_t i = 0; i < counts.size(); ++i) {
    counts[i] = request.tokens;
    if (!drops_rows(request, i)) continue;
    counts[i] =
        static_cast<uint32_t>(std::clamp<double>(head_rows(rows, levels[i]), 0, request.tokens));
  }
  repeat_owners(*request.shape, counts);
}

// What one head gets, its opposite gives.
double head_count(const Rows& rows, double level) {
  const double moved = std::floor(std::abs(level) * rows.most + kSlack);
  return std::floor(rows.mean) + (level < 0 ? -moved : moved);
}

void count(const BudgetRequest& request, std::span<uint32_t> counts) {
  fill(request, counts, head_count);
}

// Under a ratio heads below the mean may keep a row less of a longer text, where the mean's
// fraction just falls short.
void bound(const BudgetRequest& request, std::span<uint32_t> counts) {
  const bool ratio = request.amount.unit == AmountUnit::ratio;
  fill(request, counts, [&](const Rows& rows, double level) {
    if (!ratio || level >= 0) return head_count(rows, level);
    return std::floor(rows.mean + level * rows.most + kSlack) + 1;
  });
}

}  // namespace

const Budget kEntropy = {
    .name = "entropy",
    .summary = "heads of a layer in groups by the entropy of their queries (UNComp)",
    .needs_table = true,
    .table_of_scores = true,
    .parameters = kParameters,
    .counts = count,
    .upper_bound = bound,
};

}  // namespace skvis
