// SPDX-License-Identifier: Apache-2.0
// Attention for rows that go on to later layers while others stay behind (FastKV's token-selective
// propagation): prompt rows of one sequence at positions that were appended before, with gaps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/layer_cache.hpp"
#include "base/aligned.hpp"
#include "base/thread_pool.hpp"
#include "cache/sequence_cache.hpp"

namespace skvis {

class SurvivorStep final : public LayerCache {
 public:
  // `positions` ascending, committed, exact and live in the layers to come; both outlive the step.
  SurvivorStep(SequenceCache& sequence, std::span<const uint32_t> positions, ThreadPool& threads);
  void attend(const LayerInput& input, float* out) override;

 private:
  void write_row(const LayerInput& input, size_t row);
  bool is_observed(uint32_t position) const;

  SequenceCache& sequence_;
  std::span<const uint32_t> positions_;
  ThreadPool& threads_;
  AlignedBuffer<float> angles_;  // [rows, head_dim]
  AlignedBuffer<float> q_;       // [rows, query_heads, head_dim] rotated and scaled
  const RotaryTable* rotary_ = nullptr;
};

}  // namespace skvis
