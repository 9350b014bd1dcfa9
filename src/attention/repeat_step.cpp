// SPDX-License-Identifier: Apache-2.0
#include "attention/repeat_step.hpp"

#include <algorithm>

#include "cache/rows.hpp"
#include "kernels/table.hpp"

namespace skvis {
namespace {

constexpr uint32_t kItemRows = 16;  // positions of one piece of work

}  // namespace

RepeatStep::RepeatStep(LayerCache& attention, SequenceCache& sequence, const RepeatedPart& part,
                       uint32_t position, uint32_t rows, ThreadPool& threads)
    : attention_(attention),
      sequence_(sequence),
      shape_(sequence.layout().shape()),
      part_(part),
      position_(position),
      rows_(rows),
      threads_(threads),
      angles_(size_t{rows} * shape_.head_dim),
      keys_(shape_.kv_heads),
      scores_(threads.threads() * shape_.kv_heads * (part.end - part.begin)),
      scratch_(threads.threads()) {}

float* RepeatStep::scores_of(size_t worker, uint32_t head) {
  return scores_.data() + (worker * shape_.kv_heads + head) * (part_.end - part_.begin);
}

void RepeatStep::turn_angles(const RotaryTable& table) {
  if (rotary_ == &table) return;
  rotary_ = &table;
  threads_.run(rows_, [&](size_t row, size_t) {
    rotary_angles(table, position_ + static_cast<uint32_t>(row),
                  angles_.data() + row * shape_.head_dim);
  });
}

void RepeatStep::attend(const LayerInput& input, float* out) {
  attention_.attend(input, out);
  const CacheLayout& layout = sequence_.layout();
  layer_ = input.layer;
  if (!layout.owns(layer_)) return;
  std::vector<uint32_t> heads;
  for (uint32_t head = 0; head < shape_.kv_heads; ++head) {
    if (layout.head(shape_.index({layer_, head})).selectable) heads.push_back(head);
  }
  if (heads.empty()) return;
  turn_angles(*input.rotary);
  std::fill(scores_.begin(), scores_.end(), 0.0f);
  threads_.run(heads.size(), [&](size_t i, size_t) { pack(heads[i]); });
  const size_t items = (rows_ + kItemRows - 1) / kItemRows;
  threads_.run(heads.size() * items, [&](size_t item, size_t worker) {
    raise(input, heads[item / items], static_cast<uint32_t>(item % items) * kItemRows, worker);
  });
  threads_.run(heads.size(), [&](size_t i, size_t) { write_scores(heads[i]); });
}

void RepeatStep::pack(uint32_t head) {
  const uint32_t index = shape_.index({layer_, head});
  const uint32_t first_end = std::min(kFirstRows, part_.begin);
  const std::vector<LiveRow> live = live_rows(sequence_, index, position_ + rows_);
  std::vector<LiveRow> seen;
  Keys& keys = keys_[head];
  keys.before = keys.count = 0;
  for (const LiveRow& row : live) {
    const bool before = row.position < first_end;
    const bool repeated = row.position >= part_.begin && row.position < part_.end;
    if (!before && !repeated && row.position < part_.block) continue;
    keys.before += before ? 1 : 0;
    keys.count += before || repeated ? 1 : 0;
    seen.push_back(row);
  }
  keys.rows = static_cast<uint32_t>(seen.size());
  const size_t head_dim = shape_.head_dim;
  const size_t lanes = round_up(seen.size(), kernels::kTileLanes);
  keys.packed.ensure(lanes * head_dim);
  std::fill_n(keys.packed.data(), lanes * head_dim, 0.0f);
  std::vector<float> decoded(kernels::kTileLanes * head_dim);
  for (size_t first = 0; first < seen.size(); first += kernels::kTileLanes) {
    const size_t count = std::min(kernels::kTileLanes, seen.size() - first);
    decode_rows(sequence_, index, Role::key, std::span(seen).subspan(first, count), decoded.data());
    float* tile = keys.packed.data() + first * head_dim;
    for (size_t c = 0; c < head_dim; ++c) {
      for (size_t i = 0; i < count; ++i) {
        tile[c * kernels::kTileLanes + i] = decoded[i * head_dim + c];
      }
    }
  }
}

// What kItemRows positions from row `first` on attend to, into the worker's own scores.
void RepeatStep::raise(const LayerInput& input, uint32_t head, uint32_t first, size_t worker) {
  const kernels::Kernels& kernels = kernels::active_kernels();
  const size_t group = shape_.group_size();
  const size_t head_dim = shape_.head_dim;
  const Keys& keys = keys_[head];
  const size_t count = std::min(kItemRows, rows_ - first) * group;
  Scratch& scratch = scratch_[worker];
  scratch.queries.resize(count * head_dim);
  for (size_t i = 0; i < count; ++i) {
    const size_t row = first + i / group;
    const size_t query_head = head * group + i % group;
    float* q = scratch.queries.data() + i * head_dim;
    rotate_row(input.q + (row * shape_.query_heads + query_head) * head_dim,
               angles_.data() + row * head_dim, head_dim / 2, q);
    for (size_t c = 0; c < head_dim; ++c) q[c] *= shape_.attention_scale;
  }
  const size_t stride = round_up(keys.rows, kernels::kTileLanes);
  scratch.logits.ensure(kernels::kMaxRows * stride);
  float* scores = scores_of(worker, head);
  for (size_t begin = 0; begin < count; begin += kernels::kMaxRows) {
    const size_t rows = std::min(kernels::kMaxRows, count - begin);
    // Rows of R that query i sees: all before the block, and of the block what is not later.
    const auto visible = [&](size_t i) {
      return keys.count + position_ + first + i / group - part_.block + 1;
    };
    kernels.exact_product[static_cast<size_t>(kernels::ElementType::f32)](
        {.matrix = keys.packed.data(),
         .lanes = round_up(visible(begin + rows - 1), kernels::kTileLanes),
         .depth = head_dim,
         .row_stride = 0,
         .x = scratch.queries.data() + begin * head_dim,
         .x_stride = head_dim,
         .rows = rows,
         .out = scratch.logits.data(),
         .out_stride = stride,
         .add = false,
         .prefetch = nullptr});
    for (size_t i = 0; i < rows; ++i) {
      float* logits = scratch.logits.data() + i * stride;
      const size_t seen = visible(begin + i);
      const float sum = kernels.exp_sum(logits, seen, kernels.row_max(logits, seen));
      const float factor = sum > 0 ? 1.0f / sum : 0.0f;
      const float* of_part = logits + keys.before;
      for (uint32_t j = 0; j < part_.end - part_.begin; ++j) {
        scores[j] = std::max(scores[j], of_part[j] * factor);
      }
    }
  }
}

void RepeatStep::write_scores(uint32_t head) {
  const uint32_t index = shape_.index({layer_, head});
  const uint32_t own = sequence_.layout().own_state();
  for (uint32_t j = 0; j < part_.end - part_.begin; ++j) {
    float& state = sequence_.exact_state(index, part_.begin + j)[own];
    for (size_t worker = 0; worker < threads_.threads(); ++worker) {
      state = std::max(state, scores_of(worker, head)[j]);
    }
  }
}

}  // namespace skvis
