// SPDX-License-Identifier: Apache-2.0
// How heads that are ranked by a score fall into groups of equal size.
#pragma once

#include <algorithm>
#include <cstdint>

namespace skvis {

// From 1 for the first to -1 for the last group, in even steps, by the middle of the rank's part of
// [0, heads). A rank whose middle lies on the border of two groups stands between them. Opposite
// ranks have opposite levels, so that the levels of all ranks add up to 0.
inline double group_level(uint32_t rank, uint32_t heads, uint32_t groups) {
  groups = std::min(groups, heads);
  if (groups < 2) return 0;
  const uint32_t middle = (2 * rank + 1) * groups;
  const double group = middle / (2 * heads) - (middle % (2 * heads) == 0 ? 0.5 : 0.0);
  return 1 - 2 * group / (groups - 1);
}

}  // namespace skvis
