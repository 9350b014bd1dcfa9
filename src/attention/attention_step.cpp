// SPDX-License-Identifier: Apache-2.0
#include "attention/attention_step.hpp"

#include <algorithm>
#include <cstring>

#include "attention/fused.hpp"
#include "attention/observation.hpp"
#include "attention/statistics.hpp"
#include "attention/tiles.hpp"
#include "base/aligned.hpp"

namespace skvis {
namespace {

struct WorkerScratch {
  FusedScratch fused;
  TileScratch tiles;
  AlignedBuffer<float> row;     // [head_dim]
  AlignedBuffer<float> merged;  // partials of one row and KV head while they join
};

// One piece of work; which worker takes it does not matter.
struct TileItem {
  uint32_t slice;
  uint32_t kv_head;
  uint32_t first;  // row of the slice
};
struct FusedItem {
  uint32_t slice;
  uint32_t row;  // of the slice
  uint32_t kv_head;
  uint32_t index;  // of the partial
  bool sealed;
  size_t memory;  // floats from the start of the partials' memory
};
// All partials of one row and KV head: items [first, last) of the list.
struct FusedJoin {
  size_t first;
  size_t last;
};

}  // namespace

struct AttentionStep::State {
  std::vector<SequenceSlice> slices;
  std::vector<uint32_t> positions;  // [slices] of the first row
  std::vector<uint8_t> committed;   // [slices]
  std::vector<uint32_t> slice_of;   // [rows] of the step
  StepRequests requests;
  ThreadPool* threads = nullptr;
  const kernels::Kernels* kernels = nullptr;
  CacheShape shape;
  std::vector<std::vector<LayerRecord>> records;  // [slices][layers]

  std::vector<WorkerScratch> workers;
  const RotaryTable* rotary = nullptr;  // whose angles are below
  AlignedBuffer<float> angles;          // [rows, head_dim]
  AlignedBuffer<float> q;               // [rows, query_heads, head_dim] rotated and scaled
  AlignedBuffer<std::byte> prepared;    // [generated rows of the step, kv_heads, parts] queries
  size_t prepared_stride = 0;
  AlignedBuffer<float> partials;
  std::vector<TileItem> tile_items;
  std::vector<FusedItem> fused_items;
  std::vector<FusedJoin> joins;

  size_t rows() const { return slice_of.size(); }
  size_t q_width() const { return size_t{shape.query_heads} * shape.head_dim; }
  size_t kv_width() const { return size_t{shape.kv_heads} * shape.head_dim; }
  // Prepared queries per KV head: one for every kFusedRows query heads.
  size_t parts() const { return (shape.group_size() + kFusedRows - 1) / kFusedRows; }
  uint32_t position(uint32_t slice, uint32_t row) const { return positions[slice] + row; }
  uint32_t visible_end(uint32_t slice, uint32_t row) const {
    return slices[slice].mask == StepMask::block ? positions[slice] + slices[slice].rows
                                                 : positions[slice] + row + 1;
  }

  void turn_angles(const RotaryTable& table);
  void append_row(const LayerInput& input, uint32_t owner, size_t row, size_t worker);
  void prepare_row(uint32_t owner, size_t row);
  FusedQuery fused_query(uint32_t owner, const FusedItem& item);
  void list_items(uint32_t owner);
  void run_tile(uint32_t layer, uint32_t owner, const TileItem& item, WorkerScratch& scratch,
                float* out);
  void run_fused(uint32_t owner, const FusedItem& item, WorkerScratch& scratch);
  void join(uint32_t layer, uint32_t owner, const FusedJoin& items, WorkerScratch& scratch,
            float* out);
  void judge_row(const LayerInput& input, uint32_t head, size_t row, const float* rotated_key);
  void observe(const LayerInput& input);
  void record_inputs(const LayerInput& input);
  void record_probabilities(uint32_t layer, uint32_t owner);
};

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
  // Of a slice longer than what is observed, later rows take the places of earlier ones.
  const uint32_t from_end = slice.first_row + slice.rows - static_cast<uint32_t>(row);
  const bool observed = slice.observed && from_end <= layout.observe() && owner == input.layer;
  std::byte* ring = observed ? sequence.observed_queries(owner, position_of_row) : nullptr;
  for (uint32_t head = 0; head < shape.query_heads; ++head) {
    float* q_row = q.data() + row * q_width() + head * head_dim;
    rotate_row(input.q + row * q_width() + head * head_dim, cos_sin, half, q_row);
    if (observed) store_exact(type, q_row, head_dim, ring + head * layout.exact_row_bytes());
    for (size_t i = 0; i < head_dim; ++i) q_row[i] *= shape.attention_scale;
  }
}

// Selectors that judge a row as it is written do so now.
void AttentionStep::State::judge_row(const LayerInput& input, uint32_t head, size_t row,
                                     const float* rotated_key) {
  const SequenceSlice& slice = slices[slice_of[row]];
  SequenceCache& sequence = *slice.sequence;
  const CacheLayout& layout = sequence.layout();
  const KeepRule& keep = layout.plan().keep;
  const bool judges = slice.observed && layout.plan().drops() && keep.selector->observe != nullptr;
  if (!judges || !layout.head(head).selectable) return;
  const uint32_t position_of_row =
      position(slice_of[row], static_cast<uint32_t>(row) - slice.first_row);
  const HeadId id = shape.head(head);
  const size_t offset = row * kv_width() + id.head * shape.head_dim;
  keep.selector->observe(keep.settings, keep.data.get(),
                         {.id = id,
                          .group_size = shape.group_size(),
                          .position = position_of_row,
                          .hidden = {input.hidden + row * input.hidden_size, input.hidden_size},
                          .key = {input.k + offset, shape.head_dim},
                          .rotated_key = {rotated_key, shape.head_dim},
                          .value = {input.v + offset, shape.head_dim}},
                         sequence.exact_state(head, position_of_row) + layout.own_state());
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
  float* log_sum_exp = nullptr;
  if (requests.log_sum_exp) {
    log_sum_exp = records[item.slice][layer].log_sum_exp.data() + item.first * shape.query_heads +
                  item.kv_head * shape.group_size();
  }
  attend_tiles(*kernels, query, scratch.tiles, out + row * q_width() + head_offset, q_width(),
               log_sum_exp, shape.query_heads);
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
    if (requests.log_sum_exp) {
      records[head_item.slice][layer]
          .log_sum_exp[head_item.row * shape.query_heads + head_item.kv_head * group + head_row] =
          merged.maximum[head_row] + std::log(merged.sum[head_row]);
    }
  }
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

// What selectors see of all rows of the step, head by head.
void AttentionStep::State::observe(const LayerInput& input) {
  if (shape.owner[input.layer] != input.layer) return;
  const size_t heads = shape.kv_heads;
  threads->run(slices.size() * heads, [&](size_t item, size_t) {
    const auto i = static_cast<uint32_t>(item / heads);
    const SequenceSlice& slice = slices[i];
    const CacheLayout& layout = slice.sequence->layout();
    const auto kv_head = static_cast<uint32_t>(item % heads);
    const uint32_t head = shape.index({input.layer, kv_head});
    if (!slice.observed || !layout.head(head).selectable) return;
    const size_t offset =
        slice.first_row * q_width() + size_t{kv_head} * shape.group_size() * shape.head_dim;
    const ObservedSlice observed{
        .sequence = slice.sequence,
        .head = head,
        .position = positions[i],
        .rows = slice.rows,
        .block_end = slice.mask == StepMask::block ? positions[i] + slice.rows : 0,
        .raw_q = input.q + offset,
        .q = q.data() + offset,
        .q_stride = q_width()};
    if (layout.needs().query_moments) add_query_moments(observed);
    if (layout.needs().totals) add_totals(*kernels, observed);
  });
}

void AttentionStep::State::record_inputs(const LayerInput& input) {
  if (!requests.queries_and_keys && !requests.log_sum_exp) return;
  for (uint32_t i = 0; i < slices.size(); ++i) {
    LayerRecord& record = records[i][input.layer];
    const SequenceSlice& slice = slices[i];
    for (uint32_t row = 0; row < slice.rows; ++row) record.positions.push_back(position(i, row));
    if (requests.log_sum_exp) record.log_sum_exp.resize(size_t{slice.rows} * shape.query_heads);
    if (!requests.queries_and_keys) continue;
    const size_t q_first = slice.first_row * q_width();
    const size_t k_first = slice.first_row * kv_width();
    record.q_before_rope.assign(input.q + q_first, input.q + q_first + slice.rows * q_width());
    record.k_before_rope.assign(input.k + k_first, input.k + k_first + slice.rows * kv_width());
    record.q_after_rope = record.q_before_rope;
    record.k_after_rope = record.k_before_rope;
    const auto rotate_all = [&](std::vector<float>& values, size_t heads) {
      for (size_t k = 0; k < values.size(); k += shape.head_dim) {
        const size_t row = slice.first_row + k / (heads * shape.head_dim);
        rotate_row(&values[k], angles.data() + row * shape.head_dim, shape.head_dim / 2,
                   &values[k]);
      }
    };
    rotate_all(record.q_after_rope, shape.query_heads);
    rotate_all(record.k_after_rope, shape.kv_heads);
  }
}

// The second pass over keys for what was asked of probabilities.
void AttentionStep::State::record_probabilities(uint32_t layer, uint32_t owner) {
  if (requests.columns == QueryRows::none && !requests.probability_rows) return;
  const size_t group = shape.group_size();
  for (uint32_t i = 0; i < slices.size(); ++i) {
    const SequenceSlice& slice = slices[i];
    LayerRecord& record = records[i][layer];
    record.columns.resize(shape.kv_heads);
    record.probabilities.resize(shape.kv_heads);
    const bool each_row = requests.probability_rows && slice.kind == RowKind::generated;
    threads->run(shape.kv_heads, [&](size_t kv_head, size_t) {
      const uint32_t head = shape.index({owner, static_cast<uint32_t>(kv_head)});
      const HeadKeys keys(*slice.sequence, head, slice.sequence->length());
      const size_t count = keys.rows().size();
      std::vector<float> probabilities(group * count);
      std::vector<float>& sums = record.columns[kv_head];
      if (requests.columns != QueryRows::none) {
        sums.assign((requests.reduce == GroupReduce::none ? group : 1) * count, 0.0f);
      }
      for (uint32_t row = 0; row < slice.rows; ++row) {
        const bool summed = in_columns(requests.columns, requests.column_rows, row, slice.rows);
        if (!summed && !each_row) continue;
        const float* q_row =
            q.data() + (slice.first_row + row) * q_width() + kv_head * group * shape.head_dim;
        keys.probabilities(
            *kernels, q_row,
            window_begin(slice.sequence->layout().head(head).window, position(i, row)),
            visible_end(i, row), probabilities);
        if (summed) add_columns(probabilities, group, requests.reduce, sums);
        if (each_row) {
          record.probabilities[kv_head].insert(record.probabilities[kv_head].end(),
                                               probabilities.begin(), probabilities.end());
        }
      }
    });
  }
}

}  // namespace skvis
