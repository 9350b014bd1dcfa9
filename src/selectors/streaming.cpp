// SPDX-License-Identifier: Apache-2.0
// StreamingLLM (Xiao et al., 2023): the newest rows, behind the sinks that the plan protects.
// Positions stay true positions: keys are not turned to their rank among the kept rows.
#include "selectors/entries.hpp"

namespace skvis {
namespace {

SelectorNeeds needs(const Settings&) {
  return {};
}

// Rows come in the order of their positions, so that a row's index ranks as its age does.
void score(const Settings&, const SelectorView& view, float* scores) {
  for (uint32_t i = 0; i < view.rows; ++i) scores[i] = static_cast<float>(i);
}

}  // namespace

const Selector kStreaming = {
    .name = "streaming",
    .summary = "sinks and the newest tokens (StreamingLLM)",
    .horizon = Horizon::row,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
