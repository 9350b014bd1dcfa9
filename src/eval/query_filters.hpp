// SPDX-License-Identifier: Apache-2.0
// The directions that selector `q-filters` reads, measured on texts (Q-Filters, 2025): of each KV
// head the one along which the queries of its group, after RoPE, are longest: the first right
// singular vector of all of them, mean not removed. Its sign is the one with which keys score the
// higher the more attention they receive.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "engine/engine.hpp"

namespace skvis {

struct QueryFilters {
  std::vector<float> directions;  // [layers, kv_heads, head_dim] unit vectors
  // [layers * kv_heads] Spearman's correlation of score and attention received per query, mean over
  // the texts; never negative, as the sign was chosen by it.
  std::vector<double> correlations;
  std::vector<double> energy;  // [layers * kv_heads] share of the queries' squares along it
};

// Reads every text under the engine's plan, which must be H2O's with all rows kept.
Result<QueryFilters> query_filters(Engine& engine, std::span<const std::vector<uint32_t>> texts,
                                   const std::function<void(size_t, size_t)>& progress = {});

}  // namespace skvis
