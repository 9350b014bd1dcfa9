// SPDX-License-Identifier: Apache-2.0
// What settle does with scores, written plainly for tests: protected rows, then the best of the
// rest, ties to the older row.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace skvis {

inline std::vector<uint32_t> keep_best(const std::vector<float>& scores, uint32_t count,
                                       uint32_t sinks, uint32_t tail) {
  const auto rows = static_cast<uint32_t>(scores.size());
  std::vector<uint32_t> order(rows);
  std::iota(order.begin(), order.end(), 0u);
  const auto is_protected = [&](uint32_t i) { return i < sinks || i + tail >= rows; };
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    if (is_protected(a) != is_protected(b)) return is_protected(a);
    return scores[a] > scores[b];
  });
  order.resize(std::min(count, rows));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace skvis
