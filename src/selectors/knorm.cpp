// SPDX-License-Identifier: Apache-2.0
// KNorm (Devoto et al., 2024): keys of small norm draw the most attention.
//
//   score[j] = -|k[j]|
//
// A rotation keeps the norm, so that keys before and after RoPE, or a Hadamard transform, agree.
#include "selectors/entries.hpp"

namespace skvis {
namespace {

SelectorNeeds needs(const Settings&) {
  return {.keys = true};
}

void score(const Settings&, const SelectorView& view, float* scores) {
  for (uint32_t j = 0; j < view.rows; ++j) {
    scores[j] = -static_cast<float>(norm_of(view.keys, j));
  }
}

}  // namespace

const Selector kKnorm = {
    .name = "knorm",
    .summary = "keys of small norm (KNorm)",
    .horizon = Horizon::row,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
