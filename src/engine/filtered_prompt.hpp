// SPDX-License-Identifier: Apache-2.0
// Reading a prompt of which later layers see fewer and fewer rows (FastKV, UNComp). All rows run
// through the first layers and wait; at the prompt's end the best of them go on to the next layers,
// and so forth. Rows keep their positions, and those that stay behind have no keys and values in
// the layers that they never reached.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "cache/settle.hpp"
#include "model/model.hpp"

namespace skvis {

// The newest rows of a prompt that no layer leaves behind: protected ones and those whose queries
// the selector observes.
uint32_t newest_survivors(const CacheLayout& layout);

class FilteredPrompt {
 public:
  // All outlive it.
  FilteredPrompt(Model& model, SequenceCache& sequence, const AttentionStatistics& statistics,
                 ThreadPool& threads)
      : model_(model), sequence_(sequence), statistics_(statistics), threads_(threads) {}

  // The prompt's next tokens run through the layers that all rows see. Committed.
  Result<void> read(std::span<const uint32_t> tokens);
  // The prompt has been read: the survivors run through the other layers. logits [rows, vocabulary]
  // of the last rows, at most newest_survivors().
  Result<void> finish(uint32_t logits_rows, std::span<float> logits);

 private:
  // Layers [first, last) see the same rows.
  struct Stage {
    uint32_t first = 0;
    uint32_t last = 0;
  };
  Stage stage_at(uint32_t first) const;
  uint32_t staying(uint32_t layer, uint32_t rows) const;
  std::vector<uint32_t> best_rows(uint32_t layer, uint32_t count) const;
  void leave_behind(uint32_t layer, std::span<const uint32_t> staying);
  Result<void> run(const Stage& stage, std::span<const uint32_t> rows, uint32_t logits_rows,
                   std::span<float> logits);

  Model& model_;
  SequenceCache& sequence_;
  const AttentionStatistics& statistics_;
  ThreadPool& threads_;
};

}  // namespace skvis
