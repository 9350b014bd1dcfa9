// SPDX-License-Identifier: Apache-2.0
// EMS (2024, arXiv 2412.08521): evict, then merge. Of the rows that would go, the better ones are
// added to the most similar row that stays, unless they resemble none (the "zero class").
//
//   global[j] = mean attention that row j received from the queries that could see it
//   local[j]  = mean attention from the last `observe` queries, scaled to the mean of `global`
//   score[j]  = the larger of the two, or their sum (`combine`)
//
//   centres   = the rows that stay
//   merging   = the best of the others, until centres and these hold `mass` of all score, at most
//               `most` times as many as centres
//   r(t, c)   = max(cos(k_t, k_c), 0) max(cos(v_t, v_c), 0); below `similar` row t just goes
//   value'    = mean of the members' values, weighted by score
//   key'      = mean direction of the members' keys, weighted by score, with the centre's length
//
// No code is public; constants beside the scores are the card's. Guarding each cosine keeps two
// opposite rows from counting as alike. Merged rows weigh in the softmax like one.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/aligned.hpp"
#include "kernels/table.hpp"
#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr std::array<std::string_view, 2> kCombines = {"max", "sum"};
constexpr Parameter kObserve = {.name = "observe", .fallback = 32, .min = 1, .max = 1024};
constexpr Parameter kCombine = {
    .name = "combine", .fallback = 0, .min = 0, .max = 1, .words = kCombines};
constexpr Parameter kMass = {.name = "mass", .fallback = 0.98, .min = 0, .max = 1, .whole = false};
constexpr Parameter kMost = {.name = "most", .fallback = 4, .min = 0, .max = 64, .whole = false};
constexpr Parameter kSimilar = {
    .name = "similar", .fallback = 0.5, .min = 0, .max = 2, .whole = false};
constexpr std::array<Parameter, 5> kParameters = {kObserve, kCombine, kMass, kMost, kSimilar};
constexpr double kShortest = 1e-6;  // below it a direction means nothing

SelectorNeeds needs(const Settings& settings) {
  return {.observe = whole_of(settings, kObserve),
          .reduce = GroupReduce::mean,
          .totals = true,
          .keys = true,
          .values = true};
}

void score(const Settings& settings, const SelectorView& view, float* scores) {
  double global_sum = 0;
  double local_sum = 0;
  const auto global = [&](uint32_t j) {
    return double{view.totals[j]} / (view.tokens - view.positions[j]);
  };
  for (uint32_t j = 0; j < view.rows; ++j) {
    global_sum += global(j);
    local_sum += view.columns[j];
  }
  const double align = local_sum > 0 ? global_sum / local_sum : 0.0;
  const bool add = value_of(settings, kCombine) == 1;
  for (uint32_t j = 0; j < view.rows; ++j) {
    const double local = view.columns[j] * align;
    const double both = add ? global(j) + local : std::max(global(j), local);
    scores[j] = std::isfinite(both) ? static_cast<float>(both) : 0.0f;
  }
}

// The rows that may merge: the best that do not stay, best first.
std::vector<uint32_t> merging_rows(const Settings& settings, const SelectorView& view,
                                   const float* scores, std::span<const uint32_t> kept) {
  std::vector<uint8_t> stays(view.rows, 0);
  double held = 0;
  size_t centres = 0;
  for (const uint32_t j : kept) {
    stays[j] = 1;
    if (!view.droppable[j]) continue;
    held += scores[j];
    ++centres;
  }
  std::vector<uint32_t> others;
  double all = held;
  for (uint32_t j = 0; j < view.rows; ++j) {
    if (stays[j]) continue;
    others.push_back(j);
    all += scores[j];
  }
  std::stable_sort(others.begin(), others.end(),
                   [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  const auto most = static_cast<size_t>(value_of(settings, kMost) * static_cast<double>(centres));
  size_t count = 0;
  for (; count < others.size() && count < most && held < value_of(settings, kMass) * all; ++count) {
    held += scores[others[count]];
  }
  others.resize(count);
  return others;
}

// Rows as directions, one column per row of `which` [head_dim, lanes]; a row without one is zero.
AlignedBuffer<float> directions(const RowsView& rows, std::span<const uint32_t> which,
                                size_t lanes) {
  AlignedBuffer<float> columns;
  columns.ensure(rows.head_dim * lanes);
  std::fill_n(columns.data(), rows.head_dim * lanes, 0.0f);
  for (size_t i = 0; i < which.size(); ++i) {
    const double length = norm_of(rows, which[i]);
    if (!(length > kShortest)) continue;
    for (size_t c = 0; c < rows.head_dim; ++c) {
      columns.data()[c * lanes + i] = static_cast<float>(rows.row(which[i])[c] / length);
    }
  }
  return columns;
}

// Cosines of row `j` with all columns: out [lanes].
void cosines(const RowsView& rows, uint32_t j, const AlignedBuffer<float>& columns, size_t lanes,
             float* out) {
  const double length = norm_of(rows, j);
  std::vector<float> direction(rows.head_dim, 0.0f);
  for (size_t c = 0; c < rows.head_dim && length > kShortest; ++c) {
    direction[c] = static_cast<float>(rows.row(j)[c] / length);
  }
  const auto& product =
      kernels::active_kernels().exact_product[static_cast<size_t>(kernels::ElementType::f32)];
  product({.matrix = columns.data(),
           .lanes = lanes,
           .depth = rows.head_dim,
           .row_stride = lanes,
           .x = direction.data(),
           .x_stride = rows.head_dim,
           .rows = 1,
           .out = out,
           .out_stride = lanes,
           .add = false,
           .prefetch = nullptr});
}

// Adds the members of one centre [centre, rows...] as merges.
void add_class(const SelectorView& view, const float* scores, std::span<const uint32_t> members,
               std::vector<Merge>& merges) {
  const uint32_t centre = members[0];
  const size_t head_dim = view.keys.head_dim;
  double sum = 0;
  std::vector<double> direction(head_dim, 0.0);
  for (const uint32_t j : members) {
    sum += scores[j];
    const double length = norm_of(view.keys, j);
    for (size_t c = 0; c < head_dim && length > kShortest; ++c) {
      direction[c] += scores[j] * view.keys.row(j)[c] / length;
    }
  }
  const double squares =
      std::inner_product(direction.begin(), direction.end(), direction.begin(), 0.0);
  if (!(sum > 0)) return;
  const bool turns = std::sqrt(squares) / sum > kShortest;
  const double length = norm_of(view.keys, centre);
  for (const uint32_t j : members) {
    const double own = norm_of(view.keys, j);
    const double key = own > kShortest ? length * scores[j] / (own * std::sqrt(squares)) : 0.0;
    merges.push_back({.row = j,
                      .target = centre,
                      .key_weight = turns ? static_cast<float>(key) : (j == centre ? 1.0f : 0.0f),
                      .value_weight = static_cast<float>(scores[j] / sum)});
  }
}

std::vector<Merge> merge(const Settings& settings, const SelectorView& view, const float* scores,
                         std::span<const uint32_t> kept) {
  std::vector<uint32_t> centres;
  for (const uint32_t j : kept) {
    if (view.exact[j]) centres.push_back(j);
  }
  if (centres.empty()) return {};
  const size_t lanes = round_up(centres.size(), kernels::kLaneMultiple);
  const AlignedBuffer<float> keys = directions(view.keys, centres, lanes);
  const AlignedBuffer<float> values = directions(view.values, centres, lanes);
  std::vector<float> key_cosines(lanes), value_cosines(lanes);
  std::vector<std::vector<uint32_t>> classes(centres.size());
  for (const uint32_t row : merging_rows(settings, view, scores, kept)) {
    cosines(view.keys, row, keys, lanes, key_cosines.data());
    cosines(view.values, row, values, lanes, value_cosines.data());
    size_t nearest = 0;
    float best = -1;
    for (size_t i = 0; i < centres.size(); ++i) {
      const float alike = std::max(key_cosines[i], 0.0f) * std::max(value_cosines[i], 0.0f);
      if (alike > best) best = alike, nearest = i;
    }
    if (best < value_of(settings, kSimilar)) continue;
    if (classes[nearest].empty()) classes[nearest].push_back(centres[nearest]);
    classes[nearest].push_back(row);
  }
  std::vector<Merge> merges;
  for (const auto& members : classes) {
    if (!members.empty()) add_class(view, scores, members, merges);
  }
  return merges;
}

}  // namespace

const Selector kEms = {
    .name = "ems",
    .summary = "what all and the last queries attended to; the better losers merge (EMS)",
    .horizon = Horizon::prompt,
    .sees_later_queries = true,
    .parameters = kParameters,
    .needs = needs,
    .score = score,
    .merge = merge,
};

}  // namespace skvis
