// SPDX-License-Identifier: Apache-2.0
#include "attention/survivor_step.hpp"

#include <algorithm>

#include "attention/tiles.hpp"

namespace skvis {

SurvivorStep::SurvivorStep(SequenceCache& sequence, std::span<const uint32_t> positions,
                           ThreadPool& threads)
    : sequence_(sequence), positions_(positions), threads_(threads) {
  const CacheShape& shape = sequence.layout().shape();
  angles_.ensure(positions.size() * shape.head_dim);
  q_.ensure(positions.size() * shape.query_heads * shape.head_dim);
}

void SurvivorStep::write_row(const LayerInput& input, size_t row) {
  const CacheLayout& layout = sequence_.layout();
  const CacheShape& shape = layout.shape();
  const size_t head_dim = shape.head_dim;
  const ExactType type = layout.plan().exact_type;
  const uint32_t position = positions_[row];
  const float* angles = angles_.data() + row * head_dim;
  const bool owns = layout.owns(input.layer);
  std::vector<float> rotated(head_dim);
  for (uint32_t head = 0; head < shape.kv_heads && owns; ++head) {
    const size_t offset = (row * shape.kv_heads + head) * head_dim;
    const uint32_t index = shape.index({input.layer, head});
    rotate_row(input.k + offset, angles, head_dim / 2, rotated.data());
    store_exact(type, rotated.data(), head_dim, sequence_.exact_key(index, position));
    store_exact(type, input.v + offset, head_dim, sequence_.exact_value(index, position));
  }
  const bool observed = owns && is_observed(position);
  for (uint32_t head = 0; head < shape.query_heads; ++head) {
    const size_t offset = (row * shape.query_heads + head) * head_dim;
    float* q = q_.data() + offset;
    rotate_row(input.q + offset, angles, head_dim / 2, q);
    if (observed) {
      store_exact(
          type, q, head_dim,
          sequence_.observed_queries(input.layer, position) + head * layout.exact_row_bytes());
    }
    for (size_t c = 0; c < head_dim; ++c) q[c] *= shape.attention_scale;
  }
}

bool SurvivorStep::is_observed(uint32_t position) const {
  return sequence_.length() - position <= sequence_.layout().observe();
}

void SurvivorStep::attend(const LayerInput& input, float* out) {
  const CacheShape& shape = sequence_.layout().shape();
  const size_t rows = positions_.size();
  if (rotary_ != input.rotary) {
    rotary_ = input.rotary;
    threads_.run(rows, [&](size_t row, size_t) {
      rotary_angles(*rotary_, positions_[row], angles_.data() + row * shape.head_dim);
    });
  }
  threads_.run(rows, [&](size_t row, size_t) { write_row(input, row); });
  const uint32_t owner = shape.owner[input.layer];
  const size_t width = size_t{shape.query_heads} * shape.head_dim;
  const size_t tiles = (rows + kTileRows - 1) / kTileRows;
  const size_t group = shape.group_size();
  std::vector<TileScratch> scratch(threads_.threads());
  threads_.run(tiles * shape.kv_heads, [&](size_t item, size_t worker) {
    const auto head = static_cast<uint32_t>(item % shape.kv_heads);
    const size_t first = item / shape.kv_heads * kTileRows;
    const size_t offset = first * width + size_t{head} * shape.group_size() * shape.head_dim;
    const TileQuery query{.sequence = &sequence_,
                          .head = shape.index({owner, head}),
                          .q = q_.data() + offset,
                          .q_stride = width,
                          .rows = static_cast<uint32_t>(std::min<size_t>(kTileRows, rows - first)),
                          .positions = positions_.data() + first};
    std::vector<float> sums(query.rows * group);
    attend_tiles(kernels::active_kernels(), query, scratch[worker], out + offset, width,
                 sums.data());
    for (uint32_t i = 0; i < query.rows && owner == input.layer; ++i) {
      const uint32_t position = positions_[first + i];
      if (!is_observed(position)) continue;
      std::copy_n(sums.data() + i * group, group,
                  sequence_.observed_sums(input.layer, position) + head * group);
    }
  });
}

}  // namespace skvis
