// SPDX-License-Identifier: Apache-2.0
// KeyDiff (Park et al., 2025): keys that point elsewhere than the others do.
//
//   anchor   = mean over all rows of k[j] / |k[j]|
//   score[j] = -cos(k[j], anchor)
//
// The rows are those that the head still holds and those that came since, as in the paper's
// block-wise form. A key of length zero has no direction and scores 0.
#include <algorithm>
#include <cmath>
#include <vector>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr double kShortest = 1e-8;

SelectorNeeds needs(const Settings&) {
  return {.keys = true};
}

void score(const Settings&, const SelectorView& view, float* scores) {
  const size_t width = view.keys.head_dim;
  std::vector<double> anchor(width);
  for (uint32_t j = 0; j < view.rows; ++j) {
    const float* key = view.keys.row(j);
    const double length = std::max(norm_of(view.keys, j), kShortest);
    for (size_t c = 0; c < width; ++c) anchor[c] += key[c] / length;
  }
  double squares = 0;
  for (const double x : anchor) squares += x * x;
  const double anchor_length = std::max(std::sqrt(squares), kShortest);
  for (uint32_t j = 0; j < view.rows; ++j) {
    const float* key = view.keys.row(j);
    double dot = 0;
    for (size_t c = 0; c < width; ++c) dot += anchor[c] * key[c];
    scores[j] =
        -static_cast<float>(dot / (std::max(norm_of(view.keys, j), kShortest) * anchor_length));
  }
}

}  // namespace

const Selector kKeydiff = {
    .name = "keydiff",
    .summary = "keys unlike the others (KeyDiff)",
    .horizon = Horizon::grid,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
