// SPDX-License-Identifier: Apache-2.0
// Ranges of layers and heads as a plan writes them: "0-3", "4-", "*", "0,2,5-7"; and back: heads
// that are treated alike, folded into such ranges.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kv/shape.hpp"
#include "plan/problems.hpp"

namespace skvis {

// One flag per index below `limit`. What is malformed or goes beyond the model is a problem that
// begins with `where` and names `noun` ("layers"); such parts select nothing.
std::vector<uint8_t> parse_ranges(std::string_view text, uint32_t limit, std::string_view where,
                                  std::string_view noun, Problems& problems);

// The set flags as a range: "0-3,7", or "*" if all are set.
std::string ranges_text(const std::vector<uint8_t>& flags);

// Heads `heads` of layers `layers`, all alike; `first` is the index of the first of `count`.
struct HeadRange {
  std::string layers;
  std::string heads;
  uint32_t first = 0;
  uint32_t count = 0;
};

// Folds the heads of a shape by what `kind` says of each (by index); heads of the empty kind are
// left out. Ranges come in the order of their first heads and do not overlap.
std::vector<HeadRange> fold_heads(const CacheShape& shape,
                                  const std::function<std::string(uint32_t)>& kind);

}  // namespace skvis
