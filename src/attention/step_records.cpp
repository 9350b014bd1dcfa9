// SPDX-License-Identifier: Apache-2.0
// What a step hands out beside its result: to selectors, which see rows as they pass, and to those
// who asked for records.
#include <algorithm>

#include "attention/observation.hpp"
#include "attention/statistics.hpp"
#include "attention/step_state.hpp"

namespace skvis {

// Is the row's query one of those that a selector asks for? Of a slice longer than that, later rows
// take the places of earlier ones.
bool AttentionStep::State::is_observed(uint32_t slice, uint32_t row) const {
  const SequenceSlice& of = slices[slice];
  return of.observed && of.rows - row <= of.sequence->layout().observe();
}

// The log-sum-exp of one row and KV head [group_size] for those who ask.
void AttentionStep::State::keep_sums(uint32_t layer, uint32_t slice, uint32_t row, uint32_t kv_head,
                                     const float* sums) {
  const size_t group = shape.group_size();
  if (requests.log_sum_exp) {
    std::vector<float>& all = records[slice][layer].log_sum_exp;
    std::copy_n(sums, group, all.data() + row * shape.query_heads + kv_head * group);
  }
  if (shape.owner[layer] == layer && is_observed(slice, row)) {
    std::copy_n(
        sums, group,
        slices[slice].sequence->observed_sums(layer, position(slice, row)) + kv_head * group);
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
      std::vector<float> probabilities(group * keys.stride());
      std::vector<float>& sums = record.columns[kv_head];
      if (requests.columns != QueryRows::none) {
        sums.assign((requests.reduce == GroupReduce::none ? group : 1) * count, 0.0f);
      }
      for (uint32_t row = 0; row < slice.rows; ++row) {
        const bool summed = in_columns(requests.columns, requests.column_rows, row, slice.rows);
        if (!summed && !each_row) continue;
        const float* q_row =
            q.data() + (slice.first_row + row) * q_width() + kv_head * group * shape.head_dim;
        const HeadKeys::Range sees{
            window_begin(slice.sequence->layout().head(head).window, position(i, row)),
            visible_end(i, row)};
        keys.probabilities(*kernels, {q_row, {&sees, 1}, nullptr}, probabilities.data());
        if (summed) {
          keys.add_columns(*kernels, probabilities.data(), 1, requests.reduce, sums);
        }
        for (size_t g = 0; g < group && each_row; ++g) {
          const float* of_head = probabilities.data() + g * keys.stride();
          record.probabilities[kv_head].insert(record.probabilities[kv_head].end(), of_head,
                                               of_head + count);
        }
      }
    });
  }
}

}  // namespace skvis
