// SPDX-License-Identifier: Apache-2.0
// What selectors see of every row as it passes, beside the queries that are stored: their own
// numbers for each new row, moments of the queries before RoPE, and the probabilities that rows
// received in total. All of it is added row by row in the order of positions, so that slices and
// threads change nothing. Rows that are rolled back afterwards stay in totals and moments.
#pragma once

#include <cstdint>

#include "attention/layer_cache.hpp"
#include "cache/sequence_cache.hpp"
#include "kernels/table.hpp"

namespace skvis {

// One slice of one KV head as an observer sees it.
struct ObservedSlice {
  SequenceCache* sequence = nullptr;
  uint32_t head = 0;      // index of (layer, KV head)
  uint32_t position = 0;  // of the first row
  uint32_t rows = 0;
  uint32_t block_end = 0;        // > 0: every row sees positions below it; 0: causal
  const float* raw_q = nullptr;  // [rows, query_heads, head_dim] of the group, before RoPE
  const float* q = nullptr;      // the same, rotated and scaled
  size_t q_stride = 0;           // floats from one row to the next
};

// Welford's update of mean and scatter matrix, in the layout that SequenceCache::query_moments has.
void add_query_moments(const ObservedSlice& slice);

// Adds to the totals of all rows what the slice's rows attend to: the mean over the group.
void add_totals(const kernels::Kernels& kernels, const ObservedSlice& slice);

}  // namespace skvis
