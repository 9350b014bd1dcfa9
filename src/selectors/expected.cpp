// SPDX-License-Identifier: Apache-2.0
// Expected attention (kvpress, 2025): how much queries to come will attend to a row, if they are
// distributed as those before were.
//
//   mu, Sigma   mean and covariance of the queries before RoPE, without those of the first tokens
//   R           mean over the next `future` positions of the rotations by RoPE
//   k'_j        = R^T k_j, so that k'.mu = k.(R mu) and k'Sigma k' = k R Sigma R^T k
//   x[h, j]     = scale k'_j.mu_h + scale^2 / 2 k'_j Sigma_h k'_j       (log of E[exp(q.k)])
//   p[h, .]     = softmax of x[h, .] over the rows that are no sinks
//   score[j]    = (mean over the group of p[., j] + epsilon) |v_j|
//
// Rotating keys once instead of mu and Sigma of every query head is TANGRAM's form of the same.
// Under `settle` a grid point judges by the queries so far.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr Parameter kFuture = {.name = "future", .fallback = 512, .min = 1, .max = 65536};
constexpr Parameter kEpsilon = {
    .name = "epsilon", .fallback = 0, .min = 0, .max = 1, .whole = false};
constexpr Parameter kSkip = {.name = "skip", .fallback = 4, .min = 0, .max = 64};
constexpr std::array<Parameter, 3> kParameters = {kFuture, kEpsilon, kSkip};

SelectorNeeds needs(const Settings& settings) {
  return {.query_moments = true,
          .moments_from = whole_of(settings, kSkip),
          .keys = true,
          .values = true};
}

// Mean cosine and sine of each pair of channels over positions [begin, begin + count).
std::vector<double> mean_rotation(const RotaryTable& table, uint32_t begin, uint32_t count) {
  const size_t half = table.inverse_frequency.size();
  std::vector<double> mean(2 * half, 0.0);
  for (size_t i = 0; i < half; ++i) {
    for (uint32_t position = begin; position < begin + count; ++position) {
      const double angle = position * table.inverse_frequency[i];
      mean[i] += std::cos(angle) * table.scale / count;
      mean[half + i] += std::sin(angle) * table.scale / count;
    }
  }
  return mean;
}

// R^T k: the mean rotation backwards.
void rotate_back(const std::vector<double>& rotation, const float* key, double* out) {
  const size_t half = rotation.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    const double a = key[i];
    const double b = key[half + i];
    out[i] = a * rotation[i] + b * rotation[half + i];
    out[half + i] = b * rotation[i] - a * rotation[half + i];
  }
}

// k.mu and k.(Sigma k), Sigma given by its upper half.
std::pair<double, double> moments_along(const double* key, const float* mean,
                                        const float* covariance, size_t head_dim) {
  double along = 0;
  double spread = 0;
  for (size_t i = 0; i < head_dim; ++i) {
    along += key[i] * mean[i];
    double rest = 0;
    for (size_t j = i + 1; j < head_dim; ++j) rest += covariance[j - i] * key[j];
    spread += key[i] * (covariance[0] * key[i] + 2 * rest);
    covariance += head_dim - i;
  }
  return {along, spread};
}

void score(const Settings& settings, const SelectorView& view, float* scores) {
  const size_t head_dim = view.keys.head_dim;
  const size_t upper = head_dim * (head_dim + 1) / 2;
  const auto rotation = mean_rotation(*view.rotary, view.tokens, whole_of(settings, kFuture));
  const uint32_t skip = whole_of(settings, kSkip);
  uint32_t first = 0;
  while (first < view.rows && view.positions[first] < skip) ++first;
  std::vector<double> turned(size_t{view.rows} * head_dim);
  for (uint32_t j = first; j < view.rows; ++j) {
    rotate_back(rotation, view.keys.row(j), turned.data() + j * head_dim);
  }
  const double scale = view.attention_scale;
  std::vector<double> mean(view.rows, 0.0);
  std::vector<double> x(view.rows);
  for (uint32_t g = 0; g < view.group_size; ++g) {
    double largest = -INFINITY;
    for (uint32_t j = first; j < view.rows; ++j) {
      const auto [along, spread] =
          moments_along(turned.data() + j * head_dim, view.query_mean + g * head_dim,
                        view.query_covariance + g * upper, head_dim);
      x[j] = scale * along + scale * scale / 2 * spread;
      if (!std::isfinite(x[j])) x[j] = 0;
      largest = std::max(largest, x[j]);
    }
    double sum = 0;
    for (uint32_t j = first; j < view.rows; ++j) sum += x[j] = std::exp(x[j] - largest);
    for (uint32_t j = first; j < view.rows; ++j) mean[j] += x[j] / sum / view.group_size;
  }
  float highest = 0;
  for (uint32_t j = first; j < view.rows; ++j) {
    scores[j] =
        static_cast<float>((mean[j] + value_of(settings, kEpsilon)) * norm_of(view.values, j));
    highest = std::max(highest, scores[j]);
  }
  std::fill(scores, scores + first, highest + 1.0f);
}

}  // namespace

const Selector kExpected = {
    .name = "expected-attention",
    .summary = "what queries to come will attend to, by mean and covariance (expected attention)",
    .horizon = Horizon::grid,
    .sees_later_queries = true,
    .parameters = kParameters,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
