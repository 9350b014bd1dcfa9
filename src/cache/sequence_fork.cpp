// SPDX-License-Identifier: Apache-2.0
// Sequences that begin with the rows of others.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "cache/sequence_cache.hpp"

namespace skvis {

// One fork: page by page, shared where nobody will write there again, else copied.
class SequenceFork {
 public:
  SequenceFork(const SequenceCache& from, SequenceCache& to, uint32_t length)
      : from_(from), to_(to), pool_(from.pool()), length_(length) {}

  bool heads();
  bool side_pages();

 private:
  bool exact_page(const ExactPage& page, bool full, uint64_t kept, ExactPage& to);
  bool open_pages(const HeadCache& head, HeadCache& to);
  bool sealed_page(uint32_t index, const PageEntry& entry, PageEntry& to);
  bool side_page(PageId page, PageId& to);
  PageId copy(PageId page, uint64_t live);

  const SequenceCache& from_;
  SequenceCache& to_;
  Pool& pool_;
  const uint32_t length_;
};

PageId SequenceFork::copy(PageId page, uint64_t live) {
  const PageClass page_class = pool_.class_of(page);
  const PageId copied = pool_.claim(page_class, to_.reservation());
  if (copied == kNoPage) return kNoPage;
  std::memcpy(pool_.data(copied), pool_.data(page), pool_.page_bytes(page_class));
  pool_.add_live(copied, live);
  return copied;
}

bool SequenceFork::side_page(PageId page, PageId& to) {
  to = page == kNoPage ? kNoPage : copy(page, 1);
  return page == kNoPage || to != kNoPage;
}

// A page whose every slot has its row changes no more, unless rows carry what selectors add to, or
// merge into others.
bool SequenceFork::exact_page(const ExactPage& page, bool full, uint64_t kept, ExactPage& to) {
  const uint64_t live = page.live & kept;
  if (!full || from_.layout().rewrites_exact_rows()) {
    const PageId copied = copy(page.page, live);
    if (copied != kNoPage) to = {copied, live};
    return copied != kNoPage;
  }
  if (!pool_.share(page.page, to_.reservation(), live)) return false;
  to = {page.page, live};
  return true;
}

bool SequenceFork::open_pages(const HeadCache& head, HeadCache& to) {
  const uint32_t base = from_.open_base();
  for (uint32_t k = 0; k < head.open.size() && base + k * kOpenSlots < length_; ++k) {
    const uint32_t rows = std::min(kOpenSlots, length_ - base - k * kOpenSlots);
    ExactPage page;
    if (!exact_page(head.open[k], rows == kOpenSlots, slot_bits(0, rows), page)) return false;
    to.open.push_back(page);
  }
  return true;
}

bool SequenceFork::sealed_page(uint32_t index, const PageEntry& entry, PageEntry& to) {
  if (from_.lasts(index, entry)) {
    pool_.hold_in_common(entry.page, from_.reservation(), entry.live);
  } else if (!pool_.share(entry.page, to_.reservation(), entry.live)) {
    return false;
  }
  to = entry;
  to.state = kNoPage;
  return true;
}

bool SequenceFork::heads() {
  const uint32_t sinks = from_.layout().plan().sinks;
  for (uint32_t i = 0; i < from_.heads_.size(); ++i) {
    const HeadCache& head = from_.heads_[i];
    HeadCache& to = to_.heads_[i];
    if (head.sinks.page != kNoPage &&
        !exact_page(head.sinks, length_ >= sinks, slot_bits(0, std::min(length_, sinks)),
                    to.sinks)) {
      return false;
    }
    if (!open_pages(head, to)) return false;
    for (const PageEntry& entry : head.sealed.pages) {
      PageEntry page;
      if (!sealed_page(i, entry, page)) return false;
      to.sealed.pages.push_back(std::move(page));
      if (!side_page(entry.state, to.sealed.pages.back().state)) return false;
    }
    if (!side_page(head.moments, to.moments)) return false;
    to.state = head.state;
  }
  return true;
}

bool SequenceFork::side_pages() {
  to_.waiting_begin_ = from_.waiting_begin_;
  to_.waiting_end_ = from_.waiting_end_;
  for (const PageId page : from_.waiting_) {
    PageId copied = kNoPage;
    if (!side_page(page, copied)) return false;
    to_.waiting_.push_back(copied);
  }
  // Queries whose places others take before a selector looks at them again need none.
  const SettleRule& settle = from_.layout().plan().settle;
  const uint32_t next = settle.next_after(length_);
  if (!settle.at_prompt_end && length_ + from_.layout().observe() <= next) return true;
  for (const PageId page : from_.queries_) {
    PageId copied = kNoPage;
    if (!side_page(page, copied)) return false;
    to_.queries_.push_back(copied);
  }
  return true;
}

bool SequenceCache::lasts(uint32_t head, const PageEntry& entry) const {
  const HeadLayout& layout = layout_->head(head);
  if (entry.live != ~uint64_t{0} || layout.window > 0) return false;
  return !layout.selectable ||
         (layout.judged_once && entry.position(entry.filled - 1) < judged_end_);
}

Quota SequenceCache::lasting_pages() const {
  return count_lasting(false);
}

Quota SequenceCache::common_pages() const {
  return count_lasting(true);
}

Quota SequenceCache::count_lasting(bool only_common) const {
  std::vector<size_t> pages;
  for (uint32_t i = 0; i < heads_.size(); ++i) {
    const PageClass page_class = layout_->head(i).sealed;
    pages.resize(std::max<size_t>(pages.size(), page_class + 1));
    for (const PageEntry& entry : heads_[i].sealed.pages) {
      pages[page_class] += lasts(i, entry) && (!only_common || pool_->in_common(entry.page));
    }
  }
  Quota quota;
  for (PageClass i = 0; i < pages.size(); ++i) {
    if (pages[i] > 0) quota.emplace_back(i, pages[i]);
  }
  return quota;
}

bool SequenceCache::can_cut() const {
  return waiting_.empty() && !layout_->notes_every_row() && !layout_->plan().settle.at_prompt_end &&
         std::all_of(heads_.begin(), heads_.end(),
                     [](const HeadCache& head) { return head.state.empty(); });
}

Result<SequenceCache> SequenceCache::fork(ReservationId reservation) const {
  return fork(reservation, length_);
}

Result<SequenceCache> SequenceCache::fork(ReservationId reservation, uint32_t length) const {
  assert(committed_ == length_ && !broken_);
  assert(length == length_ || (can_cut() && length >= open_begin_ && length < length_));
  SequenceCache copy(*layout_, *pool_, reservation);
  copy.committed_ = copy.length_ = length;
  copy.open_begin_ = open_begin_;
  copy.open_base_ = open_base_;
  copy.judged_end_ = judged_end_;
  SequenceFork fork(*this, copy, length);
  if (!fork.heads() || !fork.side_pages()) {
    return fail("KV memory is full: a second sequence of {} tokens does not fit", length);
  }
  return copy;
}

Result<void> SequenceCache::adopt_exact(const SequenceCache& from) {
  const CacheShape& shape = layout_->shape();
  const CacheShape& other = from.layout_->shape();
  const Plan& plan = layout_->plan();
  const bool same_rows = shape.layers == other.layers && shape.kv_heads == other.kv_heads &&
                         shape.query_heads == other.query_heads &&
                         shape.head_dim == other.head_dim && shape.owner == other.owner &&
                         plan.exact_type == from.layout_->plan().exact_type;
  const uint32_t rows = from.length_;
  const uint32_t observed = std::min(layout_->observe(), rows);
  std::string problem;
  if (!same_rows) problem = "their exact rows differ";
  if (length_ > 0) problem = "there are rows already";
  if (!from.all_exact() || from.committed_ < rows) problem = "they are settled or uncommitted";
  if (plan.settle.next_after(0) <= rows) problem = "it settles before or at their end";
  const bool more =
      observed > from.layout_->observe() || layout_->notes_every_row() || layout_->filters_rows();
  if (more) problem = "it needs more than was observed";
  if (!problem.empty()) {
    return fail("{} rows read under plan '{}' cannot continue under plan '{}': {}", rows,
                from.layout_->plan().name, plan.name, problem);
  }
  SKVIS_CHECK(append(rows));
  const size_t bytes = layout_->exact_row_bytes();
  for (uint32_t head = 0; head < heads_.size(); ++head) {
    if (!layout_->head(head).owned) continue;
    for (uint32_t position = 0; position < rows; ++position) {
      std::memcpy(exact_key(head, position), from.exact_key(head, position), bytes);
      std::memcpy(exact_value(head, position), from.exact_value(head, position), bytes);
    }
  }
  for (uint32_t layer = 0; layer < shape.layers && observed > 0; ++layer) {
    if (!layout_->owns(layer)) continue;
    for (uint32_t position = rows - observed; position < rows; ++position) {
      std::memcpy(observed_queries(layer, position), from.observed_queries(layer, position),
                  shape.query_heads * bytes);
      std::memcpy(observed_sums(layer, position), from.observed_sums(layer, position),
                  shape.query_heads * sizeof(float));
    }
  }
  commit(rows);
  return {};
}

}  // namespace skvis
