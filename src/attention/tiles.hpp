// SPDX-License-Identifier: Apache-2.0
// Attention of prompt rows: many query rows meet each page, so a tile of at most a page is decoded
// into scratch, used for all of them, and forgotten. Tiles have fixed borders (each sealed page; 64
// open rows counted from the first), and a row's arithmetic does not depend on the rows beside it:
// slices of any size give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/partial.hpp"
#include "base/aligned.hpp"
#include "cache/sequence_cache.hpp"
#include "kernels/table.hpp"

namespace skvis {

// Query rows of one KV head that share tiles.
inline constexpr uint32_t kTileRows = 64;

// Rows [first, first + rows) of a slice, one KV head.
struct TileQuery {
  const SequenceCache* sequence = nullptr;
  uint32_t head = 0;  // (layer, KV head) index
  const float* q =
      nullptr;  // rotated and scaled: row r, query head g at q + r * q_stride + g * head_dim
  size_t q_stride = 0;
  uint32_t rows = 0;                    // at most kTileRows
  uint32_t position = 0;                // of the first row; the others follow, unless
  const uint32_t* positions = nullptr;  // [rows] ascending, says where they are
  uint32_t block_end = 0;               // 0: causal; else every row sees positions below it
};

// Per worker; grows to what it needs and stays.
struct TileScratch {
  AlignedBuffer<float> query;    // [rows * group_size, head_dim]
  AlignedBuffer<float> rows;     // [kPageSlots, head_dim] decoded keys, then values
  AlignedBuffer<float> columns;  // [head_dim, kPageSlots] the keys transposed
  AlignedBuffer<float> logits;   // [rows * group_size, kPageSlots]
  AlignedBuffer<float> partial;  // one Partial of rows * group_size rows
};

// out: row r, query head g at out + r * out_stride + g * head_dim. log_sum_exp
// [rows, group_size].
void attend_tiles(const kernels::Kernels& kernels, const TileQuery& query, TileScratch& scratch,
                  float* out, size_t out_stride, float* log_sum_exp);

}  // namespace skvis
