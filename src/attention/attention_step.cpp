// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "attention/step_state.hpp"

namespace skvis {

AttentionStep::AttentionStep(std::unique_ptr<State> state) : state_(std::move(state)) {}

AttentionStep::~AttentionStep() {
  for (size_t i = 0; i < state_->slices.size(); ++i) {
    if (!state_->committed[i]) commit(i, 0);
  }
}

Result<std::unique_ptr<AttentionStep>> AttentionStep::begin(std::span<const SequenceSlice> slices,
                                                            ThreadPool& threads,
                                                            const StepRequests& requests) {
  auto state = std::make_unique<State>();
  state->requests = requests;
  state->threads = &threads;
  state->kernels = &kernels::active_kernels();
  state->shape = slices[0].sequence->layout().shape();
  state->workers.resize(threads.threads());
  for (const SequenceSlice& slice : slices) {
    const uint32_t position = slice.sequence->length();
    if (auto appended = slice.sequence->append(slice.rows); !appended) {
      for (size_t i = 0; i < state->slices.size(); ++i) {
        state->slices[i].sequence->rollback(state->positions[i]);
      }
      return appended.error();
    }
    state->slice_of.resize(std::max<size_t>(state->rows(), slice.first_row + slice.rows), 0);
    std::fill_n(state->slice_of.begin() + slice.first_row, slice.rows,
                static_cast<uint32_t>(state->slices.size()));
    state->slices.push_back(slice);
    state->positions.push_back(position);
  }
  state->committed.assign(slices.size(), 0);
  state->records.resize(slices.size());
  for (auto& layers : state->records) layers.resize(state->shape.layers);
  state->angles.ensure(state->rows() * state->shape.head_dim);
  state->q.ensure(state->rows() * state->q_width());
  for (WorkerScratch& worker : state->workers) {
    worker.fused.logits.ensure(kFusedRows * kPageSlots);
    worker.row.ensure(state->shape.head_dim);
  }
  return std::unique_ptr<AttentionStep>(new AttentionStep(std::move(state)));
}

void AttentionStep::commit(size_t slice, uint32_t rows) {
  SequenceCache& sequence = *state_->slices[slice].sequence;
  sequence.commit(rows);
  sequence.rollback(state_->positions[slice] + rows);
  state_->committed[slice] = 1;
}

void AttentionStep::commit_all() {
  for (size_t i = 0; i < state_->slices.size(); ++i) commit(i, state_->slices[i].rows);
}

const std::vector<LayerRecord>& AttentionStep::records(size_t slice) const {
  return state_->records[slice];
}

// Layers mostly share one table, so angles are computed once per step.
void AttentionStep::State::turn_angles(const RotaryTable& table) {
  if (rotary == &table) return;
  rotary = &table;
  threads->run(rows(), [&](size_t row, size_t) {
    const uint32_t slice = slice_of[row];
    rotary_angles(table, position(slice, static_cast<uint32_t>(row) - slices[slice].first_row),
                  angles.data() + row * shape.head_dim);
  });
}

// Rotates one row's queries and keys and writes keys and values to their open pages, where the
// row's own step reads them back as they are stored.
void AttentionStep::State::append_row(const LayerInput& input, uint32_t owner, size_t row,
                                      size_t worker) {
  const SequenceSlice& slice = slices[slice_of[row]];
  SequenceCache& sequence = *slice.sequence;
  const CacheLayout& layout = sequence.layout();
  const uint32_t position_of_row =
      position(slice_of[row], static_cast<uint32_t>(row) - slice.first_row);
  const size_t head_dim = shape.head_dim;
  const size_t half = head_dim / 2;
  const ExactType type = layout.plan().exact_type;
  const float* cos_sin = angles.data() + row * head_dim;
  float* rotated = workers[worker].row.data();
  if (owner == input.layer) {
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      const size_t offset = row * kv_width() + head * head_dim;
      const uint32_t index = shape.index({owner, head});
      rotate_row(input.k + offset, cos_sin, half, rotated);
      store_exact(type, rotated, head_dim, sequence.exact_key(index, position_of_row));
      store_exact(type, input.v + offset, head_dim, sequence.exact_value(index, position_of_row));
      judge_row(input, index, row, rotated);
    }
  }
  const bool observed = owner == input.layer &&
                        is_observed(slice_of[row], static_cast<uint32_t>(row) - slice.first_row);
  std::byte* ring = observed ? sequence.observed_queries(owner, position_of_row) : nullptr;
  for (uint32_t head = 0; head < shape.query_heads; ++head) {
    float* q_row = q.data() + row * q_width() + head * head_dim;
    rotate_row(input.q + row * q_width() + head * head_dim, cos_sin, half, q_row);
    if (observed) store_exact(type, q_row, head_dim, ring + head * layout.exact_row_bytes());
    for (size_t i = 0; i < head_dim; ++i) q_row[i] *= shape.attention_scale;
  }
}

void AttentionStep::State::prepare_row(uint32_t owner, size_t row) {
  const SequenceSlice& slice = slices[slice_of[row]];
  if (slice.kind != RowKind::generated) return;
  const CacheLayout& layout = slice.sequence->layout();
  const uint32_t group = shape.group_size();
  for (uint32_t head = 0; head < shape.kv_heads; ++head) {
    const HeadLayout& head_layout = layout.head(shape.index({owner, head}));
    if (!head_layout.fused()) continue;
    const float* q_row = q.data() + row * q_width() + size_t{head} * group * shape.head_dim;
    for (uint32_t part = 0; part < parts(); ++part) {
      std::byte* target =
          prepared.data() + ((row * shape.kv_heads + head) * parts() + part) * prepared_stride;
      head_layout.key.prepare_query(head_layout.key_context,
                                    q_row + size_t{part} * kFusedRows * shape.head_dim,
                                    std::min(kFusedRows, group - part * kFusedRows), target);
    }
  }
}

FusedQuery AttentionStep::State::fused_query(uint32_t owner, const FusedItem& item) {
  const SequenceSlice& slice = slices[item.slice];
  const size_t row = slice.first_row + item.row;
  const uint32_t head = shape.index({owner, item.kv_head});
  return {
      .sequence = slice.sequence,
      .head = head,
      .q = q.data() + row * q_width() + size_t{item.kv_head} * shape.group_size() * shape.head_dim,
      .prepared =
          prepared.data() + (row * shape.kv_heads + item.kv_head) * parts() * prepared_stride,
      .prepared_stride = prepared_stride,
      .begin =
          window_begin(slice.sequence->layout().head(head).window, position(item.slice, item.row)),
      .end = visible_end(item.slice, item.row)};
}

void AttentionStep::State::list_items(uint32_t owner) {
  tile_items.clear();
  fused_items.clear();
  joins.clear();
  prepared_stride = 0;
  size_t memory = 0;
  const size_t group = shape.group_size();
  for (uint32_t i = 0; i < slices.size(); ++i) {
    const SequenceSlice& slice = slices[i];
    const CacheLayout& layout = slice.sequence->layout();
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      const uint32_t index = shape.index({owner, head});
      const HeadLayout& head_layout = layout.head(index);
      // A code without a fused path is read through tiles, whatever the kind of row.
      if (slice.kind == RowKind::prompt || !head_layout.fused()) {
        for (uint32_t row = 0; row < slice.rows; row += kTileRows) {
          tile_items.push_back({i, head, row});
        }
        continue;
      }
      prepared_stride =
          std::max(prepared_stride,
                   round_up(head_layout.key.query_bytes(head_layout.key_context,
                                                        std::min<uint32_t>(kFusedRows, group)),
                            kCacheLine));
      for (uint32_t row = 0; row < slice.rows; ++row) {
        const size_t first = fused_items.size();
        const auto list = [&](bool sealed, uint32_t count, size_t width) {
          for (uint32_t k = 0; k < count; ++k) {
            fused_items.push_back({i, row, head, k, sealed, memory});
            memory += round_up(Partial::floats(group, width), kCacheLine / sizeof(float));
          }
        };
        const FusedQuery query{.sequence = slice.sequence, .head = index};
        list(true, sealed_partials(query), sealed_width(head_layout));
        list(false, open_partials(query), shape.head_dim);
        joins.push_back({first, fused_items.size()});
      }
    }
  }
  partials.ensure(memory);
  prepared.ensure(rows() * shape.kv_heads * parts() * prepared_stride);
}

void AttentionStep::State::run_tile(uint32_t layer, uint32_t owner, const TileItem& item,
                                    WorkerScratch& scratch, float* out) {
  const SequenceSlice& slice = slices[item.slice];
  const size_t head_offset = size_t{item.kv_head} * shape.group_size() * shape.head_dim;
  const size_t row = slice.first_row + item.first;
  const TileQuery query{
      .sequence = slice.sequence,
      .head = shape.index({owner, item.kv_head}),
      .q = q.data() + row * q_width() + head_offset,
      .q_stride = q_width(),
      .rows = std::min(kTileRows, slice.rows - item.first),
      .position = position(item.slice, item.first),
      .block_end = slice.mask == StepMask::block ? visible_end(item.slice, item.first) : 0};
  const size_t group = shape.group_size();
  scratch.sums.ensure(kTileRows * group);
  attend_tiles(*kernels, query, scratch.tiles, out + row * q_width() + head_offset, q_width(),
               scratch.sums.data());
  for (uint32_t i = 0; i < query.rows; ++i) {
    keep_sums(layer, item.slice, item.first + i, item.kv_head, scratch.sums.data() + i * group);
  }
}

void AttentionStep::State::run_fused(uint32_t owner, const FusedItem& item,
                                     WorkerScratch& scratch) {
  const FusedQuery query = fused_query(owner, item);
  const HeadLayout& head = query.sequence->layout().head(query.head);
  const size_t width = item.sealed ? sealed_width(head) : shape.head_dim;
  const Partial partial = Partial::at(partials.data() + item.memory, shape.group_size(), width);
  if (item.sealed) {
    attend_sealed(*kernels, query, item.index, scratch.fused, partial);
  } else {
    attend_open(*kernels, query, item.index, scratch.fused, partial);
  }
}

// Joins the partials of one row and KV head in their order: sealed ones in the width of their code,
// which is finished once, then open ones.
void AttentionStep::State::join(uint32_t layer, uint32_t owner, const FusedJoin& items,
                                WorkerScratch& scratch, float* out) {
  const FusedItem& head_item = fused_items[items.first];
  const FusedQuery query = fused_query(owner, head_item);
  const HeadLayout& head = query.sequence->layout().head(query.head);
  const size_t group = shape.group_size();
  const size_t width = sealed_width(head);
  scratch.merged.ensure(Partial::floats(group, shape.head_dim));
  scratch.sums.ensure(group);
  const Partial merged = Partial::at(scratch.merged.data(), group, shape.head_dim);
  merged.clear();

  size_t i = items.first;
  if (fused_items[i].sealed) {
    const Partial sealed = Partial::at(partials.data() + fused_items[i].memory, group, width);
    for (++i; i < items.last && fused_items[i].sealed; ++i) {
      sealed.merge(*kernels, Partial::at(partials.data() + fused_items[i].memory, group, width));
    }
    for (size_t row = 0; row < group; ++row) {
      merged.maximum[row] = sealed.maximum[row];
      merged.sum[row] = sealed.sum[row];
    }
    head.value.finish(head.value_context, sealed.accumulator, sealed.sum,
                      static_cast<uint32_t>(group), merged.accumulator);
  }
  for (; i < items.last; ++i) {
    merged.merge(*kernels,
                 Partial::at(partials.data() + fused_items[i].memory, group, shape.head_dim));
  }
  const size_t row = slices[head_item.slice].first_row + head_item.row;
  float* target = out + row * q_width() + head_item.kv_head * group * shape.head_dim;
  for (size_t head_row = 0; head_row < group; ++head_row) {
    const float factor = merged.sum[head_row] > 0 ? 1.0f / merged.sum[head_row] : 0.0f;
    for (size_t c = 0; c < shape.head_dim; ++c) {
      target[head_row * shape.head_dim + c] =
          merged.accumulator[head_row * shape.head_dim + c] * factor;
    }
    scratch.sums.data()[head_row] = merged.maximum[head_row] + std::log(merged.sum[head_row]);
  }
  keep_sums(layer, head_item.slice, head_item.row, head_item.kv_head, scratch.sums.data());
}

void AttentionStep::attend(const LayerInput& input, float* out) {
  State& state = *state_;
  const uint32_t owner = state.shape.owner[input.layer];
  state.turn_angles(*input.rotary);
  state.list_items(owner);
  state.threads->run(state.rows(), [&](size_t row, size_t worker) {
    state.append_row(input, owner, row, worker);
    state.prepare_row(owner, row);
  });
  state.record_inputs(input);
  const size_t tiles = state.tile_items.size();
  state.threads->run(tiles + state.fused_items.size(), [&](size_t item, size_t worker) {
    if (item < tiles) {
      state.run_tile(input.layer, owner, state.tile_items[item], state.workers[worker], out);
    } else {
      state.run_fused(owner, state.fused_items[item - tiles], state.workers[worker]);
    }
  });
  state.threads->run(state.joins.size(), [&](size_t i, size_t worker) {
    state.join(input.layer, owner, state.joins[i], state.workers[worker], out);
  });
  state.record_probabilities(input.layer, owner);
  state.observe(input);
}

}  // namespace skvis
