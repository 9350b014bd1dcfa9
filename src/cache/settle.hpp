// SPDX-License-Identifier: Apache-2.0
// Settling a sequence at a grid point: count, select, encode, free. Afterwards every row older than
// the exact tail is sealed in its code or gone, and the memory it took is free.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "cache/sequence_cache.hpp"

namespace skvis {

// What selectors ask of attention; the room above supplies it, since the cache does not attend.
class AttentionStatistics {
 public:
  virtual ~AttentionStatistics() = default;
  // Sums of attention probabilities over the observed queries, one per live row of the head in the
  // order of positions: out [group_size or 1, rows]. Called from a worker.
  virtual void column_sums(const SequenceCache& sequence, uint32_t head, uint32_t query_rows,
                           GroupReduce reduce, std::span<float> out) const = 0;
};

// One live row of a head, in the order of positions.
struct LiveRow {
  uint32_t position = 0;
  uint32_t page = 0;  // index into the sealed table, or kExact
  uint32_t slot = 0;
  static constexpr uint32_t kExact = UINT32_MAX;
};

// All live rows of one head, sinks and open rows included.
std::vector<LiveRow> live_rows(const SequenceCache& sequence, uint32_t head);

// Settles at committed(), which must be a point where the plan settles; nothing is uncommitted.
// Fails only when the pool is full beyond the reservation, before anything was changed for the
// layer at hand; rows are then still there and the sequence can be closed.
Result<void> settle(SequenceCache& sequence, const AttentionStatistics& statistics,
                    ThreadPool& threads);

}  // namespace skvis
