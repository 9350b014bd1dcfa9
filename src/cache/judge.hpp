// SPDX-License-Identifier: Apache-2.0
// The first half of settling: shows the selector each head, lets the budget count, and answers
// which rows go. It changes nothing but rows that others merge into.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.hpp"
#include "cache/rows.hpp"
#include "cache/settle.hpp"

namespace skvis {

// What a selector sees of one head, and the memory behind it.
struct HeadView {
  std::vector<LiveRow> rows;
  std::vector<uint32_t> positions;
  std::vector<uint8_t> droppable;
  std::vector<uint8_t> exact;
  std::vector<float> columns, totals, means, covariances, keys, values, norms, state;
  SelectorView view;
};

class Judge {
 public:
  Judge(SequenceCache& sequence, const AttentionStatistics& statistics, ThreadPool& threads);

  // Do heads need each other's scores before a verdict? Otherwise verdict() scores its head itself.
  bool scores_ahead() const;
  // Scores the rows of the heads of layers [first, last); of all layers before count() where the
  // budget needs scores.
  void score_layers(uint32_t first, uint32_t last);
  // Of a scored layer: the sum over its heads of the scores of the row at each position below
  // committed(); minus infinity where there is none. For choosing the rows of later layers.
  std::vector<double> layer_scores(uint32_t layer) const;
  // How many rows each head may keep.
  void count();
  // Of one head that drops rows, once counted: its rows and which of them go. Called from a worker.
  struct Verdict {
    std::vector<LiveRow> rows;
    std::vector<uint8_t> dropped;  // [rows]
    std::vector<Merge> merges;     // indices of rows
  };
  Verdict verdict(uint32_t head);
  // Adds the rows that merge to their targets. Called from a worker.
  void merge(uint32_t head, const Verdict& verdict);

 private:
  HeadView look(uint32_t head) const;
  void gather_moments(uint32_t head, HeadView& seen) const;
  void score(uint32_t head);
  void average_scores(uint32_t layer);
  std::vector<uint8_t> droppable(uint32_t head, std::span<const LiveRow> rows) const;
  uint32_t columns_from(const HeadView& seen) const;
  std::vector<uint8_t> choose(const HeadView& seen, const std::vector<float>& scores) const;

  // Of heads that drop rows, from scoring to verdict.
  struct Scored {
    std::vector<LiveRow> rows;
    std::vector<float> scores;
  };

  SequenceCache& sequence_;
  const CacheLayout& layout_;
  const Plan& plan_;
  const AttentionStatistics& statistics_;
  ThreadPool& threads_;
  const uint32_t at_;  // rows below it exist
  std::vector<Scored> scored_;
  std::vector<uint32_t> counts_;  // rows that each head may keep
};

}  // namespace skvis
