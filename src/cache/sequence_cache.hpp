// SPDX-License-Identifier: Apache-2.0
// The KV cache of one sequence: for every (layer, KV head) its sinks, its table of sealed pages and
// its open pages of exact rows. Positions are true positions, counted from 0.
//
//   [0, sinks)             exact, one small page per head, never dropped
//   sealed                 in codes, possibly with gaps, each head its own rows
//   [open_begin, length)   exact, the same for all heads
//
// Rows are appended uncommitted by a step, for all layers at once; commit makes them part of the
// sequence, rollback takes them away. Settling (settle.hpp) moves rows from open to sealed pages.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "cache/layout.hpp"
#include "cache/page_table.hpp"
#include "cache/pool.hpp"

namespace skvis {

// A mask of slots [begin, end).
inline uint64_t slot_bits(uint32_t begin, uint32_t end) {
  if (begin >= end) return 0;
  return (end - begin == 64 ? ~uint64_t{0} : (uint64_t{1} << (end - begin)) - 1) << begin;
}

struct ExactPage {
  PageId page = kNoPage;
  uint64_t live = 0;
};

struct HeadCache {
  ExactPage sinks;  // slot s holds position s
  PageTable sealed;
  std::vector<ExactPage> open;  // page i holds positions from open_base + i * kOpenSlots
  PageId moments = kNoPage;     // [group_size, moment_floats], where the selector needs them
  std::vector<float> state;     // the selector's own, of the head
};

// Bytes of one sequence, by the rows and pages it holds; shared pages count in full.
struct SequenceBytes {
  size_t rows = 0;   // live rows and side data
  size_t pages = 0;  // pages that hold them
};

class SequenceCache {
 public:
  // `layout` and `pool` outlive the sequence; the reservation becomes its own.
  SequenceCache(const CacheLayout& layout, Pool& pool, ReservationId reservation);
  SequenceCache(SequenceCache&& other) noexcept;
  SequenceCache& operator=(SequenceCache&& other) = delete;
  ~SequenceCache();  // frees all pages and releases the reservation

  const CacheLayout& layout() const { return *layout_; }
  Pool& pool() const { return *pool_; }
  ReservationId reservation() const { return reservation_; }

  uint32_t committed() const { return committed_; }
  uint32_t length() const { return length_; }  // with the rows of the running step
  uint32_t open_begin() const { return open_begin_; }
  uint32_t open_base() const { return open_base_; }
  uint32_t sink_rows() const;  // rows in the sinks page by now
  // Rows below this position were judged by the selector.
  uint32_t judged_end() const { return judged_end_; }
  // Settling failed half way: nothing but closing is allowed.
  bool broken() const { return broken_; }

  // How many of `wanted` rows the next step may append: none beyond a grid point, `wanted` if the
  // plan settles at the prompt's end only.
  uint32_t slice(uint32_t wanted) const;

  // Room for `rows` uncommitted rows in every head. Fails, changing nothing, when the pool is full,
  // which never happens within the reservation.
  Result<void> append(uint32_t rows);
  // The oldest uncommitted rows, `rows` of them, become part of the sequence.
  void commit(uint32_t rows);
  // Drops all rows from `length` on; length >= committed().
  void rollback(uint32_t length);
  // A second sequence with the same rows, or the first `length` of them: at least those up to the
  // last point where it settled, and fewer than all only where it can be cut. Pages that nobody
  // writes to again are shared, the others copied. Only between steps. Fails when the pool is full,
  // which never happens within a reservation of the same size less lasting_pages(); the reservation
  // is then released.
  Result<SequenceCache> fork(ReservationId reservation) const;
  Result<SequenceCache> fork(ReservationId reservation, uint32_t length) const;
  // Can exact rows behind the last settled point go again, as if they had never been read? Not
  // where a selector has noted something of each of them.
  bool can_cut() const;
  // Sealed pages that stay as they are until the sequence is closed: forks hold them in common.
  Quota lasting_pages() const;
  // Those of them that count against nobody by now.
  Quota common_pages() const;

  // Are all rows exact: has nothing been settled yet?
  bool all_exact() const { return open_begin_ == layout_->plan().sinks; }
  // Fills this sequence, which is empty, with the rows of another one of the same model that holds
  // them all exact, whatever its plan and pool: as if the tokens had been read here. No grid point
  // of this plan may lie within them. Only between steps. Refused: rows of another shape or exact
  // type, settled ones, and fewer observed queries than this plan's selector needs. Fails when the
  // pool is full, which never happens within the reservation.
  Result<void> adopt_exact(const SequenceCache& from);

  const HeadCache& head(uint32_t index) const { return heads_[index]; }
  // Where exact row `position` of a head lies: keys and values of [head_dim] elements.
  std::byte* exact_key(uint32_t head, uint32_t position);
  std::byte* exact_value(uint32_t head, uint32_t position);
  const std::byte* exact_key(uint32_t head, uint32_t position) const {
    return const_cast<SequenceCache*>(this)->exact_key(head, position);
  }
  const std::byte* exact_value(uint32_t head, uint32_t position) const {
    return const_cast<SequenceCache*>(this)->exact_value(head, position);
  }
  // What an exact row carries: [state_floats].
  float* exact_state(uint32_t head, uint32_t position);
  // What a sealed row carries, in the state page of its page.
  float* sealed_state(const PageEntry& entry, uint32_t slot);
  // Mean and scatter of the head's queries before RoPE: [group_size, moment_floats].
  float* query_moments(uint32_t head) {
    return reinterpret_cast<float*>(pool_->data(heads_[head].moments));
  }
  float* head_state(uint32_t head) { return heads_[head].state.data(); }
  // The observed query of a layer at a position: [query_heads, head_dim] exact elements.
  std::byte* observed_queries(uint32_t layer, uint32_t position);
  const std::byte* observed_queries(uint32_t layer, uint32_t position) const {
    return const_cast<SequenceCache*>(this)->observed_queries(layer, position);
  }
  // Log-sum-exp of the logits of the same queries over the rows that they saw: [query_heads].
  float* observed_sums(uint32_t layer, uint32_t position);
  const float* observed_sums(uint32_t layer, uint32_t position) const {
    return const_cast<SequenceCache*>(this)->observed_sums(layer, position);
  }

  // Hidden states [hidden_size] of rows that wait for the prompt's end before they go on to later
  // layers. Room for `rows` more, the first of which is at `position` where none waits yet; fails
  // when the pool is full, never within the reservation.
  Result<void> wait(uint32_t position, uint32_t rows);
  uint32_t waiting_begin() const { return waiting_begin_; }
  uint32_t waiting_end() const { return waiting_end_; }
  float* waiting_hidden(uint32_t position);
  void stop_waiting();
  // An exact row that its layer never sees.
  void drop_exact(uint32_t head, uint32_t position);
  // Which of `count` <= 64 open rows from `position` on are there: bit i for position + i.
  uint64_t open_live(uint32_t head, uint32_t position, uint32_t count) const;

  // Calls visit(PageId) for every page that it holds.
  template <typename Visit>
  void each_page(Visit&& visit) const;
  SequenceBytes bytes() const;
  // Rows kept over all heads, exact ones included.
  size_t rows_held() const;

 private:
  friend class Settle;
  friend class SequenceFork;
  friend class SequenceImage;

  struct ExactPlace {
    PageId page;
    uint32_t slot;
    uint32_t slots;
  };
  ExactPlace exact_place(uint32_t head, uint32_t position) const;
  bool lacks_moments(uint32_t head) const;
  bool lasts(uint32_t head, const PageEntry& entry) const;
  Quota count_lasting(bool only_common) const;
  // Calls visit(ExactPage&, mask) for the exact pages of a head that hold positions [begin, end),
  // which are there.
  template <typename Visit>
  void each_exact_page(HeadCache& head, uint32_t begin, uint32_t end, Visit&& visit);
  void close();

  const CacheLayout* layout_;
  Pool* pool_;
  ReservationId reservation_;
  std::vector<HeadCache> heads_;
  std::vector<PageId> queries_;  // [layers] side pages of observed queries, or empty
  std::vector<PageId> waiting_;  // side pages of hidden states, kOpenSlots rows each
  uint32_t waiting_begin_ = 0;
  uint32_t waiting_end_ = 0;
  uint32_t committed_ = 0;
  uint32_t length_ = 0;
  uint32_t open_begin_ = 0;
  uint32_t open_base_ = 0;
  uint32_t judged_end_ = 0;
  bool broken_ = false;
};

template <typename Visit>
void SequenceCache::each_exact_page(HeadCache& head, uint32_t begin, uint32_t end, Visit&& visit) {
  const uint32_t sinks = layout_->plan().sinks;
  if (begin < sinks && head.sinks.page != kNoPage) {
    visit(head.sinks, slot_bits(begin, std::min(end, sinks)));
  }
  begin = std::max(begin, open_base_);
  while (begin < end) {
    const uint32_t page = (begin - open_base_) / kOpenSlots;
    const uint32_t base = open_base_ + page * kOpenSlots;
    const uint32_t stop = std::min(end, base + kOpenSlots);
    visit(head.open[page], slot_bits(begin - base, stop - base));
    begin = stop;
  }
}

template <typename Visit>
void SequenceCache::each_page(Visit&& visit) const {
  const auto visit_if = [&](PageId page) {
    if (page != kNoPage) visit(page);
  };
  for (const HeadCache& head : heads_) {
    visit_if(head.sinks.page);
    for (const ExactPage& open : head.open) visit(open.page);
    for (const PageEntry& entry : head.sealed.pages) {
      visit(entry.page);
      visit_if(entry.state);
    }
    visit_if(head.moments);
  }
  for (const PageId page : queries_) visit_if(page);
  for (const PageId page : waiting_) visit(page);
}

}  // namespace skvis
