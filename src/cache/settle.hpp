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
  // order of positions: out [group_size or 1, rows]. Those of rows before position `from` may be 0.
  // Called from a worker.
  virtual void column_sums(const SequenceCache& sequence, uint32_t head, uint32_t query_rows,
                           GroupReduce reduce, uint32_t from, std::span<float> out) const = 0;
  // What values [rows, head_dim] of a KV head can add to the hidden state: for each the mean over
  // the head's query heads of the sum of magnitudes of W_o v, out [rows]. Without a model W_o is
  // the identity. Called from a worker.
  virtual void output_norms(const CacheShape& shape, HeadId id, const RowsView& values,
                            std::span<float> out) const;
};

// Settles at committed(), which must be a point where the plan settles; nothing is uncommitted.
// Fails only when the pool is full beyond the reservation, before anything was changed for the
// layer at hand; rows are then still there and the sequence can be closed.
Result<void> settle(SequenceCache& sequence, const AttentionStatistics& statistics,
                    ThreadPool& threads);

}  // namespace skvis
