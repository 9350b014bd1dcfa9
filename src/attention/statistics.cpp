// SPDX-License-Identifier: Apache-2.0
#include "attention/statistics.hpp"

#include <algorithm>

#include "attention/partial.hpp"
#include "base/aligned.hpp"

namespace skvis {

bool in_columns(QueryRows which, uint32_t count, uint32_t row, uint32_t rows) {
  const uint32_t from_end = rows - 1 - row;
  switch (which) {
    case QueryRows::none:
      return false;
    case QueryRows::last:
      return from_end < count;
    case QueryRows::sampled: {
      const uint32_t step = std::max(1u, rows / std::max(1u, count));
      return from_end % step == 0 && from_end / step < count;
    }
    case QueryRows::all:
      break;
  }
  return true;
}

HeadKeys::HeadKeys(const SequenceCache& sequence, uint32_t head, uint32_t length, uint32_t from)
    : group_(sequence.layout().shape().group_size()),
      head_dim_(sequence.layout().shape().head_dim),
      rows_(live_rows(sequence, head, length)) {
  std::erase_if(rows_, [&](const LiveRow& row) { return row.position < from; });
  lanes_ = round_up(rows_.size(), kernels::kLaneMultiple);
  columns_.resize(lanes_ * head_dim_);
  std::vector<float> tile(kPageSlots * head_dim_);
  for (size_t first = 0; first < rows_.size(); first += kPageSlots) {
    const size_t count = std::min<size_t>(kPageSlots, rows_.size() - first);
    decode_rows(sequence, head, Role::key, std::span(rows_).subspan(first, count), tile.data());
    kernels::active_kernels().transpose({.from = tile.data(),
                                         .from_stride = head_dim_,
                                         .rows = count,
                                         .columns = head_dim_,
                                         .to = columns_.data() + first,
                                         .to_stride = lanes_});
  }
}

void HeadKeys::probabilities(const kernels::Kernels& kernels, const float* q, uint32_t begin,
                             uint32_t end, const float* log_sum_exp,
                             std::span<float> probabilities) const {
  const size_t count = rows_.size();
  const auto visible = [&](size_t i) {
    return rows_[i].position >= begin && rows_[i].position < end;
  };
  std::vector<float> logits(kernels::kMaxRows * lanes_);
  for (size_t row = 0; row < group_; row += kernels::kMaxRows) {
    const size_t rows = std::min(kernels::kMaxRows, group_ - row);
    kernels.exact_product[static_cast<size_t>(kernels::ElementType::f32)](
        {.matrix = columns_.data(),
         .lanes = lanes_,
         .depth = head_dim_,
         .row_stride = lanes_,
         .x = q + row * head_dim_,
         .x_stride = head_dim_,
         .rows = rows,
         .out = logits.data(),
         .out_stride = lanes_,
         .add = false,
         .prefetch = nullptr});
    for (size_t r = 0; r < rows; ++r) {
      float* row_logits = logits.data() + r * lanes_;
      for (size_t i = 0; i < count; ++i) {
        if (!visible(i)) row_logits[i] = kEmptyMaximum;
      }
      const bool given = log_sum_exp != nullptr;
      const float shift = given ? log_sum_exp[row + r] : kernels.row_max(row_logits, count);
      const float sum = kernels.exp_sum(row_logits, count, shift);
      const float factor = given ? 1.0f : sum > 0 ? 1.0f / sum : 0.0f;
      for (size_t i = 0; i < count; ++i) {
        probabilities[(row + r) * count + i] = row_logits[i] * factor;
      }
    }
  }
}

void add_columns(std::span<const float> probabilities, size_t group, GroupReduce reduce,
                 std::span<float> sums) {
  const size_t count = probabilities.size() / group;
  if (reduce == GroupReduce::none) {
    for (size_t i = 0; i < probabilities.size(); ++i) sums[i] += probabilities[i];
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    float value = 0;
    for (size_t head = 0; head < group; ++head) {
      const float probability = probabilities[head * count + i];
      value = reduce == GroupReduce::max ? std::max(value, probability) : value + probability;
    }
    sums[i] += reduce == GroupReduce::mean ? value / static_cast<float>(group) : value;
  }
}

void StoredAttention::column_sums(const SequenceCache& sequence, uint32_t head, uint32_t query_rows,
                                  GroupReduce reduce, uint32_t from, std::span<float> out) const {
  const CacheLayout& layout = sequence.layout();
  const CacheShape& shape = layout.shape();
  const kernels::Kernels& kernels = kernels::active_kernels();
  const HeadId id = shape.head(head);
  const uint32_t length = sequence.committed();
  const size_t group = shape.group_size();
  const HeadKeys keys(sequence, head, length, from);
  const size_t count = keys.rows().size();
  const size_t lists = reduce == GroupReduce::none ? group : 1;
  std::vector<float> q(group * shape.head_dim);
  std::vector<float> probabilities(group * count);
  std::vector<float> sums(lists * count);
  for (uint32_t position = length - query_rows; position < length; ++position) {
    const std::byte* stored =
        sequence.observed_queries(id.layer, position) + id.head * group * layout.exact_row_bytes();
    load_exact(layout.plan().exact_type, stored, q.size(), q.data());
    for (float& value : q) value *= shape.attention_scale;
    const uint32_t begin = window_begin(layout.head(head).window, position);
    keys.probabilities(kernels, q.data(), begin, position + 1,
                       sequence.observed_sums(id.layer, position) + id.head * group, probabilities);
    add_columns(probabilities, group, reduce, sums);
  }
  // Rows before `from` come first in every list.
  const size_t stride = out.size() / lists;
  std::fill(out.begin(), out.end(), 0.0f);
  for (size_t list = 0; list < lists; ++list) {
    std::copy_n(sums.begin() + static_cast<ptrdiff_t>(list * count), count,
                out.begin() + static_cast<ptrdiff_t>((list + 1) * stride - count));
  }
}

}  // namespace skvis
