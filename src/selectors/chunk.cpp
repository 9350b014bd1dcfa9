// SPDX-License-Identifier: Apache-2.0
// ChunkKV (Liu et al., 2025): whole chunks of neighbouring tokens, since a phrase means more than
// its words; one list for all heads of a layer.
//
//   score[j] = mean of the SnapKV scores of the rows in row j's chunk of `chunk` positions,
//              then the mean over the layer's heads
//
// Where the number of rows to keep is no multiple of a chunk, the last chunk keeps its oldest rows;
// the published code keeps whole chunks only, up to one less.
#include <array>

#include "selectors/entries.hpp"
#include "selectors/snapkv.hpp"

namespace skvis {
namespace {

constexpr Parameter kChunkRows = {.name = "chunk", .fallback = 20, .min = 1, .max = 1024};
constexpr std::array<Parameter, 5> kParameters = {kChunkRows, snapkv::kObserve, snapkv::kKernel,
                                                  snapkv::kPool, snapkv::kGroup};

// The chunk of the first row that is judged may begin before it.
SelectorNeeds needs(const Settings& settings) {
  SelectorNeeds needs = snapkv::needs(settings);
  needs.neighbours += whole_of(settings, kChunkRows) - 1;
  return needs;
}

// Of one KV head; settling takes the mean over the layer.
void score(const Settings& settings, const SelectorView& view, float* scores) {
  snapkv::score(settings, view, scores);
  const uint32_t size = whole_of(settings, kChunkRows);
  for (uint32_t begin = 0; begin < view.rows;) {
    const uint32_t chunk = view.positions[begin] / size;
    double sum = 0;
    uint32_t end = begin;
    for (; end < view.rows && view.positions[end] / size == chunk; ++end) sum += scores[end];
    const auto mean = static_cast<float>(sum / (end - begin));
    for (; begin < end; ++begin) scores[begin] = mean;
  }
}

}  // namespace

const Selector kChunk = {
    .name = "chunk",
    .summary = "chunks of neighbours by their mean SnapKV score (ChunkKV)",
    .horizon = Horizon::grid,
    .sees_later_queries = true,
    .per_layer = true,
    .parameters = kParameters,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
