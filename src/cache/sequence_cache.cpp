// SPDX-License-Identifier: Apache-2.0
#include "cache/sequence_cache.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace skvis {
SequenceCache::SequenceCache(const CacheLayout& layout, Pool& pool, ReservationId reservation)
    : layout_(&layout),
      pool_(&pool),
      reservation_(reservation),
      heads_(layout.heads()),
      open_begin_(layout.plan().sinks),
      open_base_(layout.plan().sinks),
      judged_end_(layout.plan().sinks) {
  const uint32_t floats = layout.plan().drops() ? layout.plan().keep.selector->state_per_head : 0;
  for (HeadCache& head : heads_) head.state.resize(floats);
}

SequenceCache::SequenceCache(SequenceCache&& other) noexcept
    : layout_(other.layout_),
      pool_(std::exchange(other.pool_, nullptr)),
      reservation_(std::exchange(other.reservation_, kUnreserved)),
      heads_(std::move(other.heads_)),
      queries_(std::move(other.queries_)),
      waiting_(std::exchange(other.waiting_, {})),
      waiting_begin_(other.waiting_begin_),
      waiting_end_(other.waiting_end_),
      committed_(other.committed_),
      length_(other.length_),
      open_begin_(other.open_begin_),
      open_base_(other.open_base_),
      judged_end_(other.judged_end_),
      broken_(other.broken_) {}

SequenceCache::~SequenceCache() {
  if (pool_ != nullptr) close();
}

void SequenceCache::close() {
  for (HeadCache& head : heads_) {
    if (head.sinks.page != kNoPage) pool_->free(head.sinks.page, reservation_, head.sinks.live);
    for (const ExactPage& open : head.open) pool_->free(open.page, reservation_, open.live);
    for (const PageEntry& entry : head.sealed.pages) {
      pool_->free(entry.page, reservation_, entry.live);
      if (entry.state != kNoPage) pool_->free(entry.state, reservation_, 1);
    }
    if (head.moments != kNoPage) pool_->free(head.moments, reservation_, 1);
  }
  for (const PageId page : queries_) {
    if (page != kNoPage) pool_->free(page, reservation_, 1);
  }
  stop_waiting();
  pool_->release(reservation_);
  pool_ = nullptr;
}

uint32_t SequenceCache::sink_rows() const {
  return std::min(length_, layout_->plan().sinks);
}

uint32_t SequenceCache::slice(uint32_t wanted) const {
  return std::min(wanted, layout_->plan().settle.next_after(length_) - length_);
}

Result<void> SequenceCache::append(uint32_t rows) {
  const uint32_t end = length_ + rows;
  const uint32_t sinks = layout_->plan().sinks;
  const size_t open_pages =
      end <= open_base_ ? 0 : (end - open_base_ + kOpenSlots - 1) / kOpenSlots;
  // All pages first, so that a full pool changes nothing.
  std::vector<PageId> taken;
  const auto take = [&](PageClass page_class) {
    const PageId page = pool_->allocate(page_class, reservation_);
    if (page != kNoPage) taken.push_back(page);
    return page != kNoPage;
  };
  bool complete = true;
  if (layout_->observe() > 0 && queries_.empty()) {
    for (uint32_t i = 0; i < layout_->shape().layers && complete; ++i) {
      if (layout_->owns(i)) complete = take(layout_->queries_class());
    }
  }
  const bool first_rows = length_ == 0 && sinks > 0;
  for (uint32_t i = 0; i < heads_.size() && complete; ++i) {
    if (!layout_->head(i).owned) continue;
    if (first_rows && heads_[i].sinks.page == kNoPage) complete = take(layout_->sinks_class());
    if (complete && lacks_moments(i)) complete = take(layout_->moments_class());
    for (size_t have = heads_[i].open.size(); have < open_pages && complete; ++have) {
      complete = take(layout_->open_class());
    }
  }
  if (!complete) {
    for (const PageId page : taken) pool_->free(page, reservation_, 0);
    const PoolFigures figures = pool_->figures();
    return fail("KV memory is full: {} more rows need pages, {} bytes are free and {} are reserved",
                rows, figures.free, figures.reserved);
  }
  auto next = taken.begin();
  if (layout_->observe() > 0 && queries_.empty()) {
    for (uint32_t i = 0; i < layout_->shape().layers; ++i) {
      queries_.push_back(layout_->owns(i) ? *next++ : kNoPage);
      if (layout_->owns(i)) pool_->add_live(queries_.back(), 1);
    }
  }
  for (uint32_t i = 0; i < heads_.size(); ++i) {
    if (!layout_->head(i).owned) continue;
    HeadCache& head = heads_[i];
    if (first_rows && head.sinks.page == kNoPage) head.sinks.page = *next++;
    if (lacks_moments(i)) {
      head.moments = *next++;
      pool_->add_live(head.moments, 1);
    }
    while (head.open.size() < open_pages) head.open.push_back({*next++, 0});
    each_exact_page(head, length_, end, [&](ExactPage& page, uint64_t mask) {
      page.live |= mask;
      pool_->add_live(page.page, mask);
    });
    // Slots of rows that were rolled back have theirs still.
    for (uint32_t position = length_; position < end && layout_->state_floats() > 0; ++position) {
      std::fill_n(exact_state(i, position), layout_->state_floats(), 0.0f);
    }
  }
  length_ = end;
  return {};
}

void SequenceCache::commit(uint32_t rows) {
  assert(committed_ + rows <= length_);
  committed_ += rows;
}

void SequenceCache::rollback(uint32_t length) {
  assert(length >= committed_ && length <= length_);
  for (uint32_t i = 0; i < heads_.size(); ++i) {
    if (!layout_->head(i).owned) continue;
    HeadCache& head = heads_[i];
    each_exact_page(head, length, length_, [&](ExactPage& page, uint64_t mask) {
      pool_->drop_live(page.page, mask & page.live);
      page.live &= ~mask;
    });
    while (!head.open.empty() && head.open.back().live == 0) {
      pool_->free(head.open.back().page, reservation_, 0);
      head.open.pop_back();
    }
  }
  length_ = length;
}

Result<void> SequenceCache::wait(uint32_t position, uint32_t rows) {
  if (waiting_.empty()) waiting_begin_ = waiting_end_ = position;
  const size_t pages = (waiting_end_ + rows - waiting_begin_ + kOpenSlots - 1) / kOpenSlots;
  while (waiting_.size() < pages) {
    const PageId page = pool_->allocate(layout_->waiting_class(), reservation_);
    if (page == kNoPage) return fail("KV memory is full: {} rows cannot wait", rows);
    pool_->add_live(page, 1);
    waiting_.push_back(page);
  }
  waiting_end_ += rows;
  return {};
}

float* SequenceCache::waiting_hidden(uint32_t position) {
  const uint32_t row = position - waiting_begin_;
  return reinterpret_cast<float*>(pool_->data(waiting_[row / kOpenSlots])) +
         size_t{row % kOpenSlots} * layout_->shape().hidden_size;
}

void SequenceCache::stop_waiting() {
  for (const PageId page : waiting_) pool_->free(page, reservation_, 1);
  waiting_.clear();
  waiting_begin_ = waiting_end_ = length_;
}

void SequenceCache::drop_exact(uint32_t head, uint32_t position) {
  each_exact_page(heads_[head], position, position + 1, [&](ExactPage& page, uint64_t mask) {
    pool_->drop_live(page.page, mask & page.live);
    page.live &= ~mask;
  });
}

uint64_t SequenceCache::open_live(uint32_t head, uint32_t position, uint32_t count) const {
  uint64_t live = 0;
  for (uint32_t i = 0; i < count;) {
    const uint32_t offset = position + i - open_base_;
    const uint32_t slot = offset % kOpenSlots;
    const uint32_t here = std::min(kOpenSlots - slot, count - i);
    const uint64_t page = heads_[head].open[offset / kOpenSlots].live;
    live |= (page >> slot & slot_bits(0, here)) << i;
    i += here;
  }
  return live;
}

bool SequenceCache::lacks_moments(uint32_t head) const {
  return layout_->needs().query_moments && heads_[head].moments == kNoPage;
}

SequenceCache::ExactPlace SequenceCache::exact_place(uint32_t head, uint32_t position) const {
  const uint32_t sinks = layout_->plan().sinks;
  if (position < sinks) return {heads_[head].sinks.page, position, sinks};
  const uint32_t offset = position - open_base_;
  return {heads_[head].open[offset / kOpenSlots].page, offset % kOpenSlots, kOpenSlots};
}

std::byte* SequenceCache::exact_key(uint32_t head, uint32_t position) {
  const ExactPlace place = exact_place(head, position);
  return pool_->data(place.page) + layout_->exact_key_offset(place.slot);
}

std::byte* SequenceCache::exact_value(uint32_t head, uint32_t position) {
  const ExactPlace place = exact_place(head, position);
  return pool_->data(place.page) + layout_->exact_value_offset(place.slot, place.slots);
}

float* SequenceCache::exact_state(uint32_t head, uint32_t position) {
  const ExactPlace place = exact_place(head, position);
  return reinterpret_cast<float*>(pool_->data(place.page) +
                                  layout_->exact_state_offset(place.slot, place.slots));
}

float* SequenceCache::sealed_state(const PageEntry& entry, uint32_t slot) {
  return reinterpret_cast<float*>(pool_->data(entry.state)) + slot * layout_->state_floats();
}

std::byte* SequenceCache::observed_queries(uint32_t layer, uint32_t position) {
  return pool_->data(queries_[layer]) +
         position % layout_->observe() * layout_->observed_row_bytes();
}

float* SequenceCache::observed_sums(uint32_t layer, uint32_t position) {
  std::byte* sums = pool_->data(queries_[layer]) + layout_->observed_sums_offset();
  return reinterpret_cast<float*>(sums) +
         position % layout_->observe() * layout_->shape().query_heads;
}

SequenceBytes SequenceCache::bytes() const {
  SequenceBytes sum;
  const size_t exact_row = layout_->exact_page_bytes(1);
  const auto add = [&](PageId page, uint64_t live, size_t row_bytes) {
    sum.rows += static_cast<size_t>(std::popcount(live)) * row_bytes;
    sum.pages += pool_->page_bytes(pool_->class_of(page));
  };
  for (uint32_t i = 0; i < heads_.size(); ++i) {
    const HeadCache& head = heads_[i];
    if (head.sinks.page != kNoPage) add(head.sinks.page, head.sinks.live, exact_row);
    for (const ExactPage& open : head.open) add(open.page, open.live, exact_row);
    const size_t sealed_row = pool_->page_bytes(layout_->head(i).sealed) / kPageSlots;
    for (const PageEntry& entry : head.sealed.pages) {
      add(entry.page, entry.live, sealed_row);
      if (entry.state != kNoPage) add(entry.state, 1, pool_->page_bytes(layout_->state_class()));
    }
    if (head.moments != kNoPage) {
      add(head.moments, 1, pool_->page_bytes(layout_->moments_class()));
    }
  }
  for (const PageId page : queries_) {
    if (page != kNoPage) add(page, 1, pool_->page_bytes(layout_->queries_class()));
  }
  for (const PageId page : waiting_) add(page, 1, pool_->page_bytes(layout_->waiting_class()));
  return sum;
}

size_t SequenceCache::rows_held() const {
  size_t rows = 0;
  for (const HeadCache& head : heads_) {
    rows += static_cast<size_t>(std::popcount(head.sinks.live)) + head.sealed.rows();
    for (const ExactPage& open : head.open) rows += static_cast<size_t>(std::popcount(open.live));
  }
  return rows;
}

}  // namespace skvis
