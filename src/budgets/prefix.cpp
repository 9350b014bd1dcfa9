// SPDX-License-Identifier: Apache-2.0
// PrefixKV (Wang et al., 2024): every layer keeps just as many of its best rows as reach one share
// p of its attention, the same in all layers, so that layers whose attention is concentrated keep
// few rows and flat ones many.
//
//   mass_l(o) = share of the layer's scores that the best o rows of its heads have together
//   o_l(p)    = least o with mass_l(o) >= p; the heads of a layer keep equally many
//   p         = the largest that the amount allows, by bisection; rows that are then left go, one
//               by one, to the layer whose share is least
//
// No other split of as many rows has a layer with more of the least share. For selectors that score
// a layer's heads together this is the published rule; where heads are scored apart, a layer's
// share is that of the rows which its heads would keep, not of their average. Scores are read as
// shares of attention: what is below zero has none, and a layer without any is flat.
//
// The published program computes the table of layers once, from samples of text; here each prompt
// has its own, which the authors found no worse (their ablation "online").
#include <algorithm>
#include <functional>
#include <queue>
#include <vector>

#include "budgets/entries.hpp"

namespace skvis {
namespace {

// Shares of attention are told apart to 2^-40.
constexpr int kBisections = 40;

struct Layer {
  std::vector<uint32_t> heads;
  std::vector<double> mass;  // [rows + 1] mass(o), from 0 to 1
  uint32_t kept = 0;         // rows of each head
  uint32_t rows() const { return static_cast<uint32_t>(mass.size() - 1); }
  uint32_t rows_at(double p) const {
    return static_cast<uint32_t>(std::lower_bound(mass.begin(), mass.end(), p) - mass.begin());
  }
};

Layer make_layer(const BudgetRequest& request, std::vector<uint32_t> heads) {
  size_t rows = 0;
  for (const uint32_t head : heads) rows = std::max(rows, request.scores[head].size());
  Layer layer{.heads = std::move(heads), .mass = std::vector<double>(rows + 1)};
  for (const uint32_t head : layer.heads) {
    std::vector<float> sorted;
    for (const float score : request.scores[head]) sorted.push_back(score > 0 ? score : 0.0f);
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (size_t i = 0; i < sorted.size(); ++i) layer.mass[i + 1] += sorted[i];
  }
  for (size_t i = 1; i <= rows; ++i) layer.mass[i] += layer.mass[i - 1];
  const double total = layer.mass.back();
  for (size_t i = 1; i <= rows; ++i) {
    layer.mass[i] = total > 0 ? layer.mass[i] / total : static_cast<double>(i) / rows;
  }
  return layer;
}

// Sets `kept` of every layer by one share p; answers how many of `total` rows are left.
uint64_t keep_one_share(std::vector<Layer>& layers, uint64_t total) {
  const auto cost = [&](double p) {
    uint64_t sum = 0;
    for (const Layer& layer : layers) sum += layer.heads.size() * uint64_t{layer.rows_at(p)};
    return sum;
  };
  double low = 0, high = 1;
  if (cost(high) <= total) low = high;
  for (int i = 0; i < kBisections && low < high; ++i) {
    const double middle = (low + high) / 2;
    (cost(middle) <= total ? low : high) = middle;
  }
  for (Layer& layer : layers) layer.kept = layer.rows_at(low);
  return total - cost(low);
}

// One row for each head of the layer with the least share, of equal ones the first, while rows are
// left for it.
void keep_the_rest(std::vector<Layer>& layers, uint64_t left) {
  using Entry = std::pair<double, size_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> least;
  const auto push = [&](size_t i) {
    if (layers[i].kept < layers[i].rows()) least.emplace(layers[i].mass[layers[i].kept], i);
  };
  for (size_t i = 0; i < layers.size(); ++i) push(i);
  while (!least.empty()) {
    const size_t i = least.top().second;
    least.pop();
    if (layers[i].heads.size() > left) continue;
    left -= layers[i].heads.size();
    ++layers[i].kept;
    push(i);
  }
}

void count(const BudgetRequest& request, std::span<uint32_t> counts) {
  share_alike(request, counts);
  if (request.scores.empty()) return;
  std::vector<Layer> layers;
  for (auto& heads : heads_that_share(request, Scope::layer)) {
    layers.push_back(make_layer(request, std::move(heads)));
  }
  for (const auto& all : heads_that_share(request, Scope::model)) {
    keep_the_rest(layers, keep_one_share(layers, rows_to_share(request, all)));
  }
  for (const Layer& layer : layers) {
    for (const uint32_t head : layer.heads) {
      const auto own = static_cast<uint32_t>(request.scores[head].size());
      counts[head] = request.fixed_rows[head] + std::min(layer.kept, own);
    }
  }
  repeat_owners(*request.shape, counts);
}

void bound(const BudgetRequest& request, std::span<uint32_t> counts) {
  bound_sharing(request, Scope::model, counts);
}

}  // namespace

const Budget kPrefix = {
    .name = "prefix",
    .summary = "the same share of attention in every layer (PrefixKV)",
    .needs_scores = true,
    .whole_prompt = true,
    .scope = Scope::model,
    .counts = count,
    .upper_bound = bound,
    .shares = share_alike,
};

}  // namespace skvis
