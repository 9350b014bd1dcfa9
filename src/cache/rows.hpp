// SPDX-License-Identifier: Apache-2.0
// The live rows of one head, wherever they lie: listing and decoding them. For settle, statistics
// and tests; attention walks the pages themselves.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/sequence_cache.hpp"

namespace skvis {

struct LiveRow {
  uint32_t position = 0;
  uint32_t page = 0;  // index into the sealed table, or kExact
  uint32_t slot = 0;
  static constexpr uint32_t kExact = UINT32_MAX;
};

// All live rows of one head in the order of positions: sinks, sealed rows, open rows up to
// `length` (uncommitted rows of a running step included when length is the sequence's length).
std::vector<LiveRow> live_rows(const SequenceCache& sequence, uint32_t head, uint32_t length);

// The index of the first of such rows at `position` or behind it.
size_t first_row_at(std::span<const LiveRow> rows, uint32_t position);

// What a row carries beside key and value: [state_floats].
float* row_state(SequenceCache& sequence, uint32_t head, const LiveRow& row);

// Decodes rows [rows.size(), head_dim]; keys come out after RoPE.
void decode_rows(const SequenceCache& sequence, uint32_t head, Role role,
                 std::span<const LiveRow> rows, float* out);

}  // namespace skvis
