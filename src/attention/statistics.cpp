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
  rows_.erase(rows_.begin(), rows_.begin() + static_cast<ptrdiff_t>(first_row_at(rows_, from)));
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

void HeadKeys::probabilities(const kernels::Kernels& kernels, const Queries& queries,
                             float* out) const {
  const size_t query_rows = queries.sees.size() * group_;
  for (size_t row = 0; row < query_rows; row += kernels::kMaxRows) {
    kernels.exact_product[static_cast<size_t>(kernels::ElementType::f32)](
        {.matrix = columns_.data(),
         .lanes = lanes_,
         .depth = head_dim_,
         .row_stride = lanes_,
         .x = queries.q + row * head_dim_,
         .x_stride = head_dim_,
         .rows = std::min(kernels::kMaxRows, query_rows - row),
         .out = out + row * lanes_,
         .out_stride = lanes_,
         .add = false,
         .prefetch = nullptr});
  }
  for (size_t row = 0; row < query_rows; ++row) {
    const Range& sees = queries.sees[row / group_];
    const size_t first = first_row_at(rows_, sees.begin);
    const size_t last = std::max(first, first_row_at(rows_, sees.end));
    float* logits = out + row * lanes_;
    std::fill(logits, logits + first, 0.0f);
    std::fill(logits + last, logits + lanes_, 0.0f);
    const size_t count = last - first;
    logits += first;
    if (queries.log_sum_exp != nullptr) {
      kernels.exp_sum(logits, count, queries.log_sum_exp[row]);
      continue;
    }
    const float sum = kernels.exp_sum(logits, count, kernels.row_max(logits, count));
    kernels.scale(logits, count, sum > 0 ? 1.0f / sum : 0.0f);
  }
}

void HeadKeys::add_columns(const kernels::Kernels& kernels, const float* probabilities,
                           size_t positions, GroupReduce reduce, std::span<float> sums) const {
  const size_t count = rows_.size();
  for (size_t i = 0; i < positions; ++i, probabilities += group_ * lanes_) {
    if (reduce == GroupReduce::max) {
      for (size_t j = 0; j < count; ++j) {
        float highest = 0;
        for (size_t head = 0; head < group_; ++head) {
          highest = std::max(highest, probabilities[head * lanes_ + j]);
        }
        sums[j] += highest;
      }
      continue;
    }
    const float factor = reduce == GroupReduce::mean ? 1.0f / static_cast<float>(group_) : 1.0f;
    const size_t list = reduce == GroupReduce::none ? count : 0;
    for (size_t head = 0; head < group_; ++head) {
      kernels.add_scaled(sums.data() + head * list, probabilities + head * lanes_, count, factor);
    }
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
  std::vector<float> sums(lists * count);
  std::vector<float> q(HeadKeys::kTogether * group * shape.head_dim);
  std::vector<float> log_sum_exp(HeadKeys::kTogether * group);
  std::vector<float> probabilities(HeadKeys::kTogether * group * keys.stride());
  std::vector<HeadKeys::Range> sees;
  for (uint32_t position = length - query_rows; position < length; ++position) {
    const std::byte* stored =
        sequence.observed_queries(id.layer, position) + id.head * group * layout.exact_row_bytes();
    load_exact(layout.plan().exact_type, stored, group * shape.head_dim,
               q.data() + sees.size() * group * shape.head_dim);
    std::copy_n(sequence.observed_sums(id.layer, position) + id.head * group, group,
                log_sum_exp.data() + sees.size() * group);
    sees.push_back({window_begin(layout.head(head).window, position), position + 1});
    if (sees.size() < HeadKeys::kTogether && position + 1 < length) continue;
    kernels.scale(q.data(), sees.size() * group * shape.head_dim, shape.attention_scale);
    keys.probabilities(kernels, {q.data(), sees, log_sum_exp.data()}, probabilities.data());
    keys.add_columns(kernels, probabilities.data(), sees.size(), reduce, sums);
    sees.clear();
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
