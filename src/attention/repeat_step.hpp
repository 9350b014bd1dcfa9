// SPDX-License-Identifier: Apache-2.0
// Attention of rows that repeat a part of their own sequence's prompt, and what they make of it:
// every row of that part learns how much its repetition attends to it (KVzip).
//
//   score[j] = max over the group and the repeating rows i of softmax over R of q_i . k_j
//
// R: the part itself, the first kFirstRows rows where they lie before it, and the repeating block
// up to row i. The score goes to the first number of the selector's own that row j carries, where
// it only ever grows: blocks may come in slices of any size.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "attention/layer_cache.hpp"
#include "base/aligned.hpp"
#include "base/thread_pool.hpp"
#include "cache/sequence_cache.hpp"

namespace skvis {

// Positions [begin, end) are repeated by rows from `block` on, which do not count as prompt.
struct RepeatedPart {
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t block = 0;
};

class RepeatStep final : public LayerCache {
 public:
  static constexpr uint32_t kFirstRows = 4;

  // `attention` runs a step with one slice of `sequence`, which begins at `position` and is not
  // observed. Rows of the part are exact, and all of them are there.
  RepeatStep(LayerCache& attention, SequenceCache& sequence, const RepeatedPart& part,
             uint32_t position, uint32_t rows, ThreadPool& threads);
  void attend(const LayerInput& input, float* out) override;

 private:
  // Keys of R, packed as the kernels read them: tiles of 16 rows.
  struct Keys {
    AlignedBuffer<float> packed;
    uint32_t before = 0;  // rows of R before the part
    uint32_t count = 0;   // rows of R before the repeating block
    uint32_t rows = 0;
  };
  void turn_angles(const RotaryTable& table);
  void pack(uint32_t head);
  void raise(const LayerInput& input, uint32_t head, uint32_t first, size_t worker);
  void write_scores(uint32_t head);
  float* scores_of(size_t worker, uint32_t head);

  LayerCache& attention_;
  SequenceCache& sequence_;
  const CacheShape& shape_;
  const RepeatedPart part_;
  const uint32_t position_;
  const uint32_t rows_;
  ThreadPool& threads_;
  uint32_t layer_ = 0;
  const RotaryTable* rotary_ = nullptr;  // whose angles are below
  std::vector<float> angles_;            // [rows, head_dim]
  std::vector<Keys> keys_;               // [kv_heads] of the layer
  std::vector<float> scores_;            // [workers, kv_heads, rows of the part]
  struct Scratch {
    std::vector<float> queries;  // [query rows of an item, head_dim]
    AlignedBuffer<float> logits;
  };
  std::vector<Scratch> scratch_;  // [workers]
};

}  // namespace skvis
