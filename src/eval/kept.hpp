// SPDX-License-Identifier: Apache-2.0
// Which tokens every head still holds, as text and compared with what another program kept.
//
//   { "tokens": 1200, "kept_total": 54000, "kept": [layer][KV head] = "0-3,7,9-12" }
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "cache/sequence_cache.hpp"

namespace skvis {

// [heads] positions of the live rows, ascending.
using KeptRows = std::vector<std::vector<uint32_t>>;

KeptRows kept_rows(const SequenceCache& sequence);

// The form above.
Json kept_to_json(const KeptRows& kept, const CacheShape& shape, uint32_t tokens);

// Fails where `json`, read from `origin`, is not of that form for this shape, or names positions
// that are not below its tokens.
Result<KeptRows> kept_from_json(const Json& json, std::string_view origin, const CacheShape& shape);

// Jaccard index (rows that both keep / rows that either keeps; 1 where both keep none) per head.
struct Agreement {
  double mean = 1;
  double worst = 1;
  uint32_t worst_head = 0;
};
Agreement agreement(const KeptRows& a, const KeptRows& b);

}  // namespace skvis
