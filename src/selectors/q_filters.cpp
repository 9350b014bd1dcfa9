// SPDX-License-Identifier: Apache-2.0
// Q-Filters (Godey et al., 2025): keys are judged by their component along the direction in which
// the head's queries vary most, measured beforehand; nothing of the running queries is needed.
//
//   score[j] = k_j . f        f [head_dim] of each KV head
//
// The sign of a principal direction is arbitrary and a wrong one inverts the method: the file that
// `skvis calibrate q-filters` writes has directions with which attention grows. (The published
// files have the other sign and score by the negative.)
//
// Data file: `q_filters` [layers, kv_heads, head_dim].
#include <cmath>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr std::string_view kTensor = "q_filters";

SelectorNeeds needs(const Settings&) {
  return {.keys = true};
}

Result<void> check_data(const NamedTensors& data, const CacheShape& shape) {
  const auto it = data.find(kTensor);
  const std::vector<size_t> expected = {shape.layers, shape.kv_heads, shape.head_dim};
  if (it != data.end() && it->second.shape == expected) return {};
  return fail("expected a tensor {} of shape [{}, {}, {}], one direction per KV head of this model",
              kTensor, shape.layers, shape.kv_heads, shape.head_dim);
}

void score(const Settings&, const SelectorView& view, float* scores) {
  const NamedTensor& filters = view.data->find(kTensor)->second;
  const size_t head_dim = view.keys.head_dim;
  const size_t head = view.id.layer * filters.shape[1] + view.id.head;
  const float* filter = filters.values.data() + head * head_dim;
  for (uint32_t j = 0; j < view.rows; ++j) {
    double sum = 0;
    for (size_t c = 0; c < head_dim; ++c) sum += double{view.keys.row(j)[c]} * filter[c];
    scores[j] = std::isfinite(sum) ? static_cast<float>(sum) : 0.0f;
  }
}

}  // namespace

const Selector kQFilters = {
    .name = "q-filters",
    .summary = "keys along the main direction of the head's queries, measured before (Q-Filters)",
    .horizon = Horizon::row,
    .check_data = check_data,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
