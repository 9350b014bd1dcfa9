// SPDX-License-Identifier: Apache-2.0
// PyramidKV (Cai et al., 2024): early layers attend widely and keep more, late ones less; linear
// from layer to layer, with `amount` as the mean.
//
//   min = mean / beta             max = 2 mean - min
//   where max would exceed what can be dropped at all:  max = tokens - protected,  min = 2 mean -
//   max rows of layer l of L = max - l (max - min) / (L - 1)
//
// The mean where tokens >= max >= min >= protected does not hold: short texts, and small amounts
// (4,096 tokens, 64 of them protected, beta 20: below 0.31). Only layers that drop rows are
// counted.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "budgets/entries.hpp"

namespace skvis {
namespace {

constexpr Parameter kBeta = {.name = "beta", .fallback = 20, .min = 1, .max = 1000, .whole = false};
constexpr std::array<Parameter, 1> kParameters = {kBeta};

// What the first and the last layer keep.
struct Slope {
  double mean = 0;
  double first = 0;
  double last = 0;
  bool flat = true;  // every layer keeps the mean
};

Slope slope(const BudgetRequest& request, uint32_t tokens) {
  const Amount& amount = request.amount;
  const double all = tokens;
  Slope s;
  s.mean = std::min(all, amount.unit == AmountUnit::ratio ? amount.value * all : amount.value);
  const double protected_rows = request.protected_rows;
  s.last = s.mean / value_of(*request.settings, kBeta);
  s.first = 2 * s.mean - s.last;
  if (s.first >= all - protected_rows) {
    s.first = all - protected_rows;
    s.last = 2 * s.mean - s.first;
  }
  s.flat = !(all >= s.first && s.first >= s.last && s.last >= protected_rows);
  return s;
}

// Rows of layer `rank` of `layers`. A layer and its mirror image together keep twice the mean,
// rounded down, so that rounding never exceeds the amount.
uint32_t rows_of_layer(const Slope& s, uint32_t rank, uint32_t layers) {
  const uint32_t mirror = layers - 1 - rank;
  if (s.flat || rank == mirror) return static_cast<uint32_t>(s.mean);
  const double step = (s.first - s.last) / (layers - 1);
  const double early = std::round(s.first - step * std::min(rank, mirror));
  return static_cast<uint32_t>(rank < mirror ? early : std::floor(2 * s.mean) - early);
}

// [layers] the rank of each layer among those that drop rows, and their number.
uint32_t rank_layers(const BudgetRequest& request, std::vector<uint32_t>& ranks) {
  uint32_t layers = 0;
  for (uint32_t layer = 0; layer < request.shape->layers; ++layer) {
    ranks.push_back(layers);
    bool drops = false;
    for (uint32_t head = 0; head < request.shape->kv_heads; ++head) {
      drops = drops || drops_rows(request, request.shape->index({layer, head}));
    }
    layers += drops ? 1 : 0;
  }
  return layers;
}

void fill(const BudgetRequest& request, const Slope& s, uint32_t least,
          std::span<uint32_t> counts) {
  std::vector<uint32_t> ranks;
  const uint32_t layers = rank_layers(request, ranks);
  for (uint32_t i = 0; i < counts.size(); ++i) {
    counts[i] = request.tokens;
    if (!drops_rows(request, i)) continue;
    counts[i] = std::max(least, rows_of_layer(s, ranks[request.shape->head(i).layer], layers));
  }
  repeat_owners(*request.shape, counts);
}

void count(const BudgetRequest& request, std::span<uint32_t> counts) {
  fill(request, slope(request, request.tokens), 0, counts);
}

// Late layers keep most just before the pyramid begins, while all keep the mean; early ones, and
// all means, only grow.
void bound(const BudgetRequest& request, std::span<uint32_t> counts) {
  uint32_t flat = request.tokens;  // the longest text whose layers keep the mean
  if (request.amount.unit == AmountUnit::ratio && !slope(request, request.tokens).flat) {
    uint32_t low = 0;
    uint32_t high = request.tokens;
    while (high - low > 1) {
      const uint32_t middle = low + (high - low) / 2;
      (slope(request, middle).flat ? low : high) = middle;
    }
    flat = low;
  }
  fill(request, slope(request, request.tokens), rows_of(request.amount, flat), counts);
}

}  // namespace

const Budget kPyramid = {
    .name = "pyramid",
    .summary = "more in early layers, less in late ones (PyramidKV)",
    .parameters = kParameters,
    .counts = count,
    .upper_bound = bound,
};

}  // namespace skvis
