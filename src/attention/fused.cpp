// SPDX-License-Identifier: Apache-2.0
#include "attention/fused.hpp"

#include <algorithm>
#include <span>

#include "base/prefetch.hpp"

namespace skvis {
namespace {

uint32_t runs(size_t pages, uint32_t per_run) {
  return static_cast<uint32_t>((pages + per_run - 1) / per_run);
}

// Few pages per partial where there are few, so that threads share them evenly; more where there
// are many, since every partial begins with pages that nothing fetched ahead, and is merged.
uint32_t sealed_pages_per_partial(size_t pages) {
  constexpr size_t kPartials = 32;
  return static_cast<uint32_t>(
      std::clamp<size_t>(pages / kPartials, kSealedPagesPerPartial, 4 * kSealedPagesPerPartial));
}

// Page tables defeat the hardware's prefetcher, and a page's arithmetic is about as long as a fetch
// takes: while the kernels walk a page they ask for the lines of the page two ahead, one by one,
// since requests in one burst find no room. The first pages of a partial come in a burst.
constexpr size_t kPagesAhead = 2;

void mask_logits(float* logits, uint64_t live) {
  for (uint64_t dead = ~live; dead != 0; dead &= dead - 1) {
    logits[std::countr_zero(dead)] = kEmptyMaximum;
  }
}

// Exact rows [slot, slot + count) of a page of `slots` slots.
void attend_exact_rows(const kernels::Kernels& kernels, const FusedQuery& query,
                       const std::byte* page, uint32_t slots, uint32_t slot, uint32_t count,
                       FusedScratch& scratch, const Partial& out) {
  const CacheLayout& layout = query.sequence->layout();
  const size_t head_dim = layout.shape().head_dim;
  const auto type = static_cast<size_t>(element_type(layout.plan().exact_type));
  for (size_t row = 0; row < out.rows; row += kFusedRows) {
    const size_t rows = std::min<size_t>(kFusedRows, out.rows - row);
    float* logits = scratch.logits.data();
    kernels.row_dots[type]({.matrix = page + layout.exact_key_offset(slot),
                            .tokens = count,
                            .depth = head_dim,
                            .row_stride = head_dim,
                            .x = query.q + row * head_dim,
                            .x_stride = head_dim,
                            .rows = rows,
                            .out = logits,
                            .out_stride = kPageSlots});
    out.add_logits(kernels, row, rows, logits, kPageSlots, count);
    kernels.exact_product[type]({.matrix = page + layout.exact_value_offset(slot, slots),
                                 .lanes = head_dim,
                                 .depth = count,
                                 .row_stride = head_dim,
                                 .x = logits,
                                 .x_stride = kPageSlots,
                                 .rows = rows,
                                 .out = out.accumulator + row * out.width,
                                 .out_stride = out.width,
                                 .add = true,
                                 .prefetch = nullptr});
  }
}

}  // namespace

size_t sealed_width(const HeadLayout& head) {
  return head.value.accumulator_width(head.value_context);
}

uint32_t sealed_partials(const FusedQuery& query) {
  const size_t pages = query.sequence->head(query.head).sealed.pages.size();
  return runs(pages, sealed_pages_per_partial(pages));
}

uint32_t open_partials(const FusedQuery& query) {
  return std::max(1u, runs(query.sequence->head(query.head).open.size(), kOpenPagesPerPartial));
}

void attend_sealed(const kernels::Kernels& kernels, const FusedQuery& query, uint32_t index,
                   FusedScratch& scratch, const Partial& out) {
  const HeadLayout& head = query.sequence->layout().head(query.head);
  const Pool& pool = query.sequence->pool();
  const std::span<const PageEntry> table = query.sequence->head(query.head).sealed.pages;
  const size_t per_partial = sealed_pages_per_partial(table.size());
  const auto pages =
      table.subspan(index * per_partial, std::min(per_partial, table.size() - index * per_partial));
  for (size_t i = 0; i < std::min(kPagesAhead, pages.size()); ++i) {
    prefetch_range(pool.data(pages[i].page), 0, pool.page_bytes(head.sealed));
  }
  out.clear();
  for (size_t i = 0; i < pages.size(); ++i) {
    const uint64_t live = query.begin > 0 ? pages[i].live_from(query.begin) : pages[i].live;
    if (live == 0) continue;
    const std::byte* keys = pool.data(pages[i].page);
    const std::byte* values = keys + head.key_bytes;
    const std::byte* ahead =
        i + kPagesAhead < pages.size() ? pool.data(pages[i + kPagesAhead].page) : nullptr;
    for (size_t row = 0; row < out.rows; row += kFusedRows) {
      const auto rows = static_cast<uint32_t>(std::min<size_t>(kFusedRows, out.rows - row));
      float* logits = scratch.logits.data();
      head.key.codec->score(head.key_context, keys,
                            query.prepared + row / kFusedRows * query.prepared_stride, rows, logits,
                            ahead);
      if (live != ~uint64_t{0}) {
        for (size_t r = 0; r < rows; ++r) mask_logits(logits + r * kPageSlots, live);
      }
      out.add_logits(kernels, row, rows, logits, kPageSlots, kPageSlots);
      head.value.codec->accumulate(head.value_context, values, logits, rows,
                                   out.accumulator + row * out.width,
                                   ahead == nullptr ? nullptr : ahead + head.key_bytes);
    }
  }
}

void attend_open(const kernels::Kernels& kernels, const FusedQuery& query, uint32_t index,
                 FusedScratch& scratch, const Partial& out) {
  const SequenceCache& sequence = *query.sequence;
  const HeadCache& head = sequence.head(query.head);
  const Pool& pool = sequence.pool();
  out.clear();
  if (index == 0 && head.sinks.page != kNoPage) {
    const uint32_t end = std::min(sequence.sink_rows(), query.end);
    if (query.begin < end) {
      attend_exact_rows(kernels, query, pool.data(head.sinks.page), sequence.layout().plan().sinks,
                        query.begin, end - query.begin, scratch, out);
    }
  }
  const size_t first = size_t{index} * kOpenPagesPerPartial;
  const size_t last = std::min(head.open.size(), first + kOpenPagesPerPartial);
  for (size_t i = first; i < last; ++i) {
    const uint32_t base = sequence.open_base() + static_cast<uint32_t>(i) * kOpenSlots;
    const uint32_t begin = std::max({base, sequence.open_begin(), query.begin});
    const uint32_t end = std::min(base + kOpenSlots, query.end);
    if (begin >= end) continue;
    attend_exact_rows(kernels, query, pool.data(head.open[i].page), kOpenSlots, begin - base,
                      end - begin, scratch, out);
  }
}

}  // namespace skvis
