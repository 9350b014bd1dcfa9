// SPDX-License-Identifier: Apache-2.0
// Attention of one generated row over one KV head, straight over the codes. The row's keys are cut
// into partials with fixed borders: runs of sealed pages counted from the start of the table, then
// runs of open pages. Borders depend on the head's pages alone, so that results do not depend on
// threads or on what else the step holds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/partial.hpp"
#include "base/aligned.hpp"
#include "cache/sequence_cache.hpp"
#include "kernels/table.hpp"

namespace skvis {

inline constexpr uint32_t kSealedPagesPerPartial = 8;  // at least; up to four times in long tables
inline constexpr uint32_t kOpenPagesPerPartial = 8;
inline constexpr uint32_t kFusedRows = 8;  // query heads per call of a kernel

// One row and one KV head of the step.
struct FusedQuery {
  const SequenceCache* sequence = nullptr;
  uint32_t head = 0;                    // (layer, KV head) index
  const float* q = nullptr;             // [group_size, head_dim] rotated and scaled
  const std::byte* prepared = nullptr;  // per kFusedRows query heads one prepared query
  size_t prepared_stride = 0;
  uint32_t begin = 0;  // visible positions [begin, end)
  uint32_t end = 0;
};

// Per worker.
struct FusedScratch {
  AlignedBuffer<float> logits;  // [group_size, kPageSlots]
};

uint32_t sealed_partials(const FusedQuery& query);
uint32_t open_partials(const FusedQuery& query);

// The width of the accumulators of sealed partials.
size_t sealed_width(const HeadLayout& head);

// Gathers partial `index`; `out` has rows = group_size and the width of sealed_width (sealed) or
// head_dim (open, sinks with the first). `out` is overwritten.
void attend_sealed(const kernels::Kernels& kernels, const FusedQuery& query, uint32_t index,
                   FusedScratch& scratch, const Partial& out);
void attend_open(const kernels::Kernels& kernels, const FusedQuery& query, uint32_t index,
                 FusedScratch& scratch, const Partial& out);

}  // namespace skvis
