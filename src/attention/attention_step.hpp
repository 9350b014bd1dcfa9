// SPDX-License-Identifier: Apache-2.0
// Attention of one step over many sequences: appends the new rows of a layer and attends over
// sealed and open pages, joined in one softmax. Prompt rows go through decoded tiles, generated
// rows through the fused kernels; a row's result depends on neither its company nor the number of
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "attention/layer_cache.hpp"
#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "cache/settle.hpp"

namespace skvis {

// The rows of one sequence in a step: rows [first_row, first_row + rows) of the step's batch, at
// the sequence's positions from length() on.
struct SequenceSlice {
  SequenceCache* sequence = nullptr;
  uint32_t first_row = 0;
  uint32_t rows = 0;
  RowKind kind = RowKind::prompt;
  StepMask mask = StepMask::causal;
};

// What a caller may ask of attention, per layer, as it runs. Everything is optional.
struct StepRequests {
  bool log_sum_exp = false;
  bool queries_and_keys = false;
  bool probability_rows = false;        // generated rows only
  QueryRows columns = QueryRows::none;  // over the rows of this step
  uint32_t column_rows = 0;             // last, sampled: how many rows of each slice
  GroupReduce reduce = GroupReduce::none;
};

// Answers for one layer of one slice.
struct LayerRecord {
  std::vector<float> log_sum_exp;    // [rows, query_heads]
  std::vector<float> q_before_rope;  // [rows, query_heads, head_dim]
  std::vector<float> q_after_rope;
  std::vector<float> k_before_rope;  // [rows, kv_heads, head_dim]
  std::vector<float> k_after_rope;
  std::vector<uint32_t> positions;  // [rows]
  // Per KV head; rows of the head are its live rows in the order of positions (see live_rows).
  std::vector<std::vector<float>> columns;        // [kv_heads][group_size or 1, live rows]
  std::vector<std::vector<float>> probabilities;  // [kv_heads][rows, group_size, live rows]
};

// The records of a step: [slice][layer].
struct StepRecords {
  std::vector<std::vector<LayerRecord>> slices;
};

// Which kernels a layout's heads use, for the line that is printed at start.
class AttentionStep final : public LayerCache {
 public:
  // Appends room for the slices' rows to every sequence; on failure nothing is appended.
  static Result<std::unique_ptr<AttentionStep>> begin(std::span<const SequenceSlice> slices,
                                                      ThreadPool& threads,
                                                      const StepRequests& requests = {});
  ~AttentionStep() override;
  void attend(const LayerInput& input, float* out) override;
  // Commits all rows of all slices. Without it the destructor rolls back.
  void commit();
  StepRecords& records();

 private:
  struct State;
  explicit AttentionStep(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The statistics that settle asks for, computed from stored queries and rows.
class StoredAttention final : public AttentionStatistics {
 public:
  void column_sums(const SequenceCache& sequence, uint32_t head, uint32_t query_rows,
                   GroupReduce reduce, std::span<float> out) const override;
};

}  // namespace skvis
