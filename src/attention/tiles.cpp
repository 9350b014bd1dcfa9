// SPDX-License-Identifier: Apache-2.0
#include "attention/tiles.hpp"

#include <algorithm>
#include <cstring>

namespace skvis {
namespace {

class TileWalk {
 public:
  TileWalk(const kernels::Kernels& kernels, const TileQuery& query, TileScratch& scratch)
      : kernels_(kernels),
        query_(query),
        sequence_(*query.sequence),
        head_(sequence_.layout().head(query.head)),
        head_dim_(sequence_.layout().shape().head_dim),
        group_(sequence_.layout().shape().group_size()),
        query_rows_(query.rows * group_),
        scratch_(scratch) {
    scratch.query.ensure(query_rows_ * head_dim_);
    scratch.rows.ensure(kPageSlots * head_dim_);
    scratch.columns.ensure(kPageSlots * head_dim_);
    scratch.logits.ensure(query_rows_ * kPageSlots);
    scratch.partial.ensure(Partial::floats(query_rows_, head_dim_));
    partial_ = Partial::at(scratch.partial.data(), query_rows_, head_dim_);
    partial_.clear();
    for (uint32_t row = 0; row < query.rows; ++row) {
      std::memcpy(scratch.query.data() + row * group_ * head_dim_, query.q + row * query.q_stride,
                  group_ * head_dim_ * sizeof(float));
    }
  }

  Partial run() {
    sinks();
    sealed();
    open();
    return partial_;
  }

 private:
  // Positions [begin, end) that a row of the block sees.
  uint32_t position(uint32_t row) const {
    return query_.positions != nullptr ? query_.positions[row] : query_.position + row;
  }
  uint32_t begin(uint32_t row) const { return window_begin(head_.window, position(row)); }
  uint32_t end(uint32_t row) const {
    return query_.block_end > 0 ? query_.block_end : position(row) + 1;
  }

  void sinks() {
    const HeadCache& cache = sequence_.head(query_.head);
    const uint32_t count = std::min(sequence_.sink_rows(), end(query_.rows - 1));
    if (cache.sinks.page == kNoPage || count <= begin(0)) return;
    for (uint32_t base = 0; base < count; base += kPageSlots)
      exact_tile(base, std::min(count - base, kPageSlots), ~uint64_t{0});
  }

  void sealed() {
    const Pool& pool = sequence_.pool();
    for (const PageEntry& entry : sequence_.head(query_.head).sealed.pages) {
      if (entry.live_from(begin(0)) == 0) continue;
      const std::byte* block = pool.data(entry.page);
      sealed_keys(block, entry.filled);
      const bool windowed = begin(query_.rows - 1) > entry.first;
      weigh(entry.filled,
            [&](uint32_t row) { return windowed ? entry.live_from(begin(row)) : entry.live; });
      sealed_values(block + head_.key_bytes, entry.filled);
    }
  }

  void sealed_keys(const std::byte* block, uint32_t filled) {
    if (head_.key.expands()) {
      head_.key.codec->expand(head_.key_context, block, scratch_.columns.data());
      score(kPageSlots, 0);
    } else {
      head_.key.decode(head_.key_context, block, 0, filled, scratch_.rows.data());
      score_rows(filled);
    }
  }

  void sealed_values(const std::byte* block, uint32_t filled) {
    if (head_.value.expands() && filled == kPageSlots) {
      head_.value.codec->expand(head_.value_context, block, scratch_.rows.data());
      accumulate(filled, 0);
    } else {
      head_.value.decode(head_.value_context, block, 0, filled, scratch_.rows.data());
      accumulate(filled, head_dim_);
    }
  }

  void open() {
    const uint32_t last = end(query_.rows - 1);
    for (uint32_t base = sequence_.open_begin(); base < last; base += kPageSlots) {
      const uint32_t count = std::min(last - base, kPageSlots);
      if (base + count <= begin(0)) continue;
      const uint64_t live = sequence_.open_live(query_.head, base, count);
      if (live != 0) exact_tile(base, count, live);
    }
  }

  // Exact rows at positions [base, base + count), as far as they are there.
  void exact_tile(uint32_t base, uint32_t count, uint64_t live) {
    const ExactType type = sequence_.layout().plan().exact_type;
    float* rows = scratch_.rows.data();
    for (uint32_t i = 0; i < count; ++i) {
      load_exact(type, sequence_.exact_key(query_.head, base + i), head_dim_, rows + i * head_dim_);
    }
    score_rows(count);
    weigh(count, [&](uint32_t row) {
      const uint32_t from = std::clamp(begin(row), base, base + count) - base;
      const uint32_t to = std::clamp(end(row), base, base + count) - base;
      return slot_bits(from, to) & live;
    });
    for (uint32_t i = 0; i < count; ++i) {
      load_exact(type, sequence_.exact_value(query_.head, base + i), head_dim_,
                 rows + i * head_dim_);
    }
    accumulate(count, head_dim_);
  }

  // Logits of all query rows with the `count` keys in scratch's rows, a lane for each.
  void score_rows(uint32_t count) {
    float* columns = scratch_.columns.data();
    const auto lanes = static_cast<uint32_t>(round_up(count, kernels::kLaneMultiple));
    kernels_.transpose({.from = scratch_.rows.data(),
                        .from_stride = head_dim_,
                        .rows = count,
                        .columns = head_dim_,
                        .to = columns,
                        .to_stride = kPageSlots});
    for (size_t channel = 0; channel < head_dim_ && count < lanes; ++channel) {
      std::fill(columns + channel * kPageSlots + count, columns + channel * kPageSlots + lanes,
                0.0f);
    }
    score(lanes, kPageSlots);
  }

  // The same with keys that lie in columns already; `stride` as in kernels::ExactProduct.
  void score(uint32_t lanes, size_t stride) {
    for (size_t row = 0; row < query_rows_; row += kernels::kMaxRows) {
      product({.matrix = scratch_.columns.data(),
               .lanes = lanes,
               .depth = head_dim_,
               .row_stride = stride,
               .x = scratch_.query.data() + row * head_dim_,
               .x_stride = head_dim_,
               .rows = std::min(kernels::kMaxRows, query_rows_ - row),
               .out = scratch_.logits.data() + row * kPageSlots,
               .out_stride = kPageSlots,
               .add = false,
               .prefetch = nullptr});
    }
  }

  // Logits become weights; slots outside visible(row) get none.
  template <typename Visible>
  void weigh(uint32_t count, Visible visible) {
    for (uint32_t row = 0; row < query_.rows; ++row) {
      const uint64_t hidden = slot_bits(0, count) & ~visible(row);
      if (hidden == 0) continue;
      float* logits = scratch_.logits.data() + row * group_ * kPageSlots;
      for (size_t head = 0; head < group_; ++head, logits += kPageSlots) {
        for (uint64_t rest = hidden; rest != 0; rest &= rest - 1) {
          logits[std::countr_zero(rest)] = kEmptyMaximum;
        }
      }
    }
    for (size_t row = 0; row < query_rows_; row += kernels::kMaxRows) {
      partial_.add_logits(kernels_, row, std::min(kernels::kMaxRows, query_rows_ - row),
                          scratch_.logits.data() + row * kPageSlots, kPageSlots, count);
    }
  }

  // Adds the `count` values in scratch's rows; `stride` as in kernels::ExactProduct.
  void accumulate(uint32_t count, size_t stride) {
    for (size_t row = 0; row < query_rows_; row += kernels::kMaxRows) {
      product({.matrix = scratch_.rows.data(),
               .lanes = head_dim_,
               .depth = count,
               .row_stride = stride,
               .x = scratch_.logits.data() + row * kPageSlots,
               .x_stride = kPageSlots,
               .rows = std::min(kernels::kMaxRows, query_rows_ - row),
               .out = partial_.accumulator + row * head_dim_,
               .out_stride = head_dim_,
               .add = true,
               .prefetch = nullptr});
    }
  }

  void product(const kernels::ExactProduct& parameters) {
    kernels_.exact_product[static_cast<size_t>(kernels::ElementType::f32)](parameters);
  }

  const kernels::Kernels& kernels_;
  const TileQuery& query_;
  const SequenceCache& sequence_;
  const HeadLayout& head_;
  const size_t head_dim_;
  const size_t group_;
  const size_t query_rows_;
  TileScratch& scratch_;
  Partial partial_;
};

}  // namespace

void attend_tiles(const kernels::Kernels& kernels, const TileQuery& query, TileScratch& scratch,
                  float* out, size_t out_stride, float* log_sum_exp) {
  const CacheShape& shape = query.sequence->layout().shape();
  const size_t group = shape.group_size();
  const Partial partial = TileWalk(kernels, query, scratch).run();
  for (size_t row = 0; row < query.rows; ++row) {
    for (size_t head = 0; head < group; ++head) {
      const size_t i = row * group + head;
      const float factor = partial.sum[i] > 0 ? 1.0f / partial.sum[i] : 0.0f;
      const float* from = partial.accumulator + i * shape.head_dim;
      float* to = out + row * out_stride + head * shape.head_dim;
      for (size_t c = 0; c < shape.head_dim; ++c) to[c] = from[c] * factor;
      log_sum_exp[i] = partial.maximum[i] + std::log(partial.sum[i]);
    }
  }
}

}  // namespace skvis
