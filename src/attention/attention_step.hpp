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
#include "attention/statistics.hpp"
#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "cache/sequence_cache.hpp"
#include "selectors/selector.hpp"

namespace skvis {

// The rows of one sequence in a step: rows [first_row, first_row + rows) of the step's batch, at
// the sequence's positions from length() on. A sequence has at most one slice in a step.
struct SequenceSlice {
  SequenceCache* sequence = nullptr;
  uint32_t first_row = 0;
  uint32_t rows = 0;
  RowKind kind = RowKind::prompt;
  StepMask mask = StepMask::causal;
  // Do the rows count in what selectors see (observed queries, totals, moments, states)? No for
  // rows that will be rolled back.
  bool observed = true;
};

// What a caller may ask of attention, per layer, as it runs. Everything is optional.
struct StepRequests {
  bool log_sum_exp = false;
  bool queries_and_keys = false;
  bool probability_rows = false;        // of generated rows
  QueryRows columns = QueryRows::none;  // over the rows of this step
  uint32_t column_rows = 0;             // last, sampled: how many rows of each slice
  GroupReduce reduce = GroupReduce::none;
};

// Answers for one layer of one slice. Rows of a KV head are its live rows in the order of positions
// (live_rows in cache/rows.hpp), the step's own rows included.
struct LayerRecord {
  std::vector<uint32_t> positions;   // [rows]
  std::vector<float> log_sum_exp;    // [rows, query_heads]
  std::vector<float> q_before_rope;  // [rows, query_heads, head_dim]
  std::vector<float> q_after_rope;
  std::vector<float> k_before_rope;  // [rows, kv_heads, head_dim]
  std::vector<float> k_after_rope;
  std::vector<std::vector<float>> columns;        // [kv_heads][group_size or 1, live rows]
  std::vector<std::vector<float>> probabilities;  // [kv_heads][rows, group_size, live rows]
};

class AttentionStep final : public LayerCache {
 public:
  // Appends room for the slices' rows to every sequence; on failure nothing is appended.
  static Result<std::unique_ptr<AttentionStep>> begin(std::span<const SequenceSlice> slices,
                                                      ThreadPool& threads,
                                                      const StepRequests& requests = {});
  ~AttentionStep() override;  // rolls back what was not committed
  void attend(const LayerInput& input, float* out) override;

  // The first `rows` rows of a slice become part of its sequence; the others are rolled back.
  void commit(size_t slice, uint32_t rows);
  void commit_all();
  // [layers], as far as the step has run.
  const std::vector<LayerRecord>& records(size_t slice) const;

 private:
  struct State;
  explicit AttentionStep(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace skvis
