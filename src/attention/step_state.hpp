// SPDX-License-Identifier: Apache-2.0
// What a running step consists of; between the files of AttentionStep only.
#pragma once

#include <vector>

#include "attention/attention_step.hpp"
#include "attention/fused.hpp"
#include "attention/tiles.hpp"
#include "base/aligned.hpp"

namespace skvis {

struct WorkerScratch {
  FusedScratch fused;
  TileScratch tiles;
  AlignedBuffer<float> sums;    // [kTileRows, group_size] log-sum-exp
  AlignedBuffer<float> row;     // [head_dim]
  AlignedBuffer<float> merged;  // partials of one row and KV head while they join
};

// One piece of work; which worker takes it does not matter.
struct TileItem {
  uint32_t slice;
  uint32_t kv_head;
  uint32_t first;  // row of the slice
};
struct FusedItem {
  uint32_t slice;
  uint32_t row;  // of the slice
  uint32_t kv_head;
  uint32_t index;  // of the partial
  bool sealed;
  size_t memory;  // floats from the start of the partials' memory
};
// All partials of one row and KV head: items [first, last) of the list.
struct FusedJoin {
  size_t first;
  size_t last;
};

struct AttentionStep::State {
  std::vector<SequenceSlice> slices;
  std::vector<uint32_t> positions;  // [slices] of the first row
  std::vector<uint8_t> committed;   // [slices]
  std::vector<uint32_t> slice_of;   // [rows] of the step
  StepRequests requests;
  ThreadPool* threads = nullptr;
  const kernels::Kernels* kernels = nullptr;
  CacheShape shape;
  std::vector<std::vector<LayerRecord>> records;  // [slices][layers]

  std::vector<WorkerScratch> workers;
  const RotaryTable* rotary = nullptr;  // whose angles are below
  AlignedBuffer<float> angles;          // [rows, head_dim]
  AlignedBuffer<float> q;               // [rows, query_heads, head_dim] rotated and scaled
  AlignedBuffer<std::byte> prepared;    // [generated rows of the step, kv_heads, parts] queries
  size_t prepared_stride = 0;
  AlignedBuffer<float> partials;
  std::vector<TileItem> tile_items;
  std::vector<FusedItem> fused_items;
  std::vector<FusedJoin> joins;

  size_t rows() const { return slice_of.size(); }
  size_t q_width() const { return size_t{shape.query_heads} * shape.head_dim; }
  size_t kv_width() const { return size_t{shape.kv_heads} * shape.head_dim; }
  // Prepared queries per KV head: one for every kFusedRows query heads.
  size_t parts() const { return (shape.group_size() + kFusedRows - 1) / kFusedRows; }
  uint32_t position(uint32_t slice, uint32_t row) const { return positions[slice] + row; }
  uint32_t visible_end(uint32_t slice, uint32_t row) const {
    return slices[slice].mask == StepMask::block ? positions[slice] + slices[slice].rows
                                                 : positions[slice] + row + 1;
  }

  void turn_angles(const RotaryTable& table);
  void append_row(const LayerInput& input, uint32_t owner, size_t row, size_t worker);
  void prepare_row(uint32_t owner, size_t row);
  FusedQuery fused_query(uint32_t owner, const FusedItem& item);
  void list_items(uint32_t owner);
  void run_tile(uint32_t layer, uint32_t owner, const TileItem& item, WorkerScratch& scratch,
                float* out);
  void run_fused(uint32_t owner, const FusedItem& item, WorkerScratch& scratch);
  void join(uint32_t layer, uint32_t owner, const FusedJoin& items, WorkerScratch& scratch,
            float* out);
  void judge_row(const LayerInput& input, uint32_t head, size_t row, const float* rotated_key);
  bool is_observed(uint32_t slice, uint32_t row) const;
  void keep_sums(uint32_t layer, uint32_t slice, uint32_t row, uint32_t kv_head, const float* sums);
  void observe(const LayerInput& input);
  void record_inputs(const LayerInput& input);
  void record_probabilities(uint32_t layer, uint32_t owner);
};

}  // namespace skvis
