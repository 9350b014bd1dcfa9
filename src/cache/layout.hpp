// SPDX-License-Identifier: Apache-2.0
// How the pages of one model under one plan look: which classes of pages there are and where the
// parts of a page lie. Made once; sequences and attention only read it.
//
// Three kinds of pages hold rows:
//   sealed  kPageSlots rows in the head's codes: the key block, then the value block.
//   open    kOpenSlots exact rows, row-major: keys [slots, head_dim], then values [slots,
//   head_dim]. sinks   the first `plan.sinks` rows, laid out like an open page of as many slots.
// Where rows carry state (a selector's own numbers), it follows the exact rows in their page, and a
// sealed page has a second page for it, since sealed pages never change.
// Other side data: hidden states of kOpenSlots rows, where a prompt's rows wait for its end before
// they go on to later layers; the queries that a selector observes, one page per layer, and what it
// keeps of all queries, one page per head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.hpp"
#include "cache/pool.hpp"
#include "codecs/codec.hpp"
#include "kernels/params.hpp"
#include "plan/plan.hpp"

namespace skvis {

// Few slots, since on average half an open page per head is empty; enough for attention to read
// several kilobytes in a row.
inline constexpr uint32_t kOpenSlots = 32;

kernels::ElementType element_type(ExactType type);
size_t exact_bytes(ExactType type);  // of one element
// [count] floats to and from exact rows. Rounds to nearest even.
void store_exact(ExactType type, const float* from, size_t count, std::byte* to);
void load_exact(ExactType type, const std::byte* from, size_t count, float* to);

struct HeadLayout {
  Code key;
  Code value;
  BlockContext key_context;
  BlockContext value_context;
  size_t key_bytes = 0;  // the value block begins here
  PageClass sealed = 0;
  uint32_t window = 0;  // sliding window of the layer in tokens; 0: none
  bool owned = true;    // false: the layer reads another layer's rows and holds none
  bool selectable = false;
  // Under a ratio a row is judged once: the share of earlier tokens was spent on those that were
  // kept. Tokens and bytes choose among all rows each time.
  bool judged_once = false;

  bool fused() const { return key.fused() && value.fused(); }
};

// What a reservation consists of, in bytes.
struct ReservationParts {
  size_t settled = 0;     // rows of the prompt that stay, in their codes
  size_t answer = 0;      // the same of the tokens that follow it
  size_t settling = 0;    // sealed pages that exist twice while a layer settles
  size_t exact = 0;       // exact rows: those of a grid step and the exact tail
  size_t sinks = 0;       // exact, too
  size_t side = 0;        // what the selector observes: queries, moments, numbers of rows
  size_t remainders = 0;  // slots of all pages that these rows leave empty

  size_t total() const { return settled + answer + settling + exact + sinks + side + remainders; }
};

class CacheLayout {
 public:
  static Result<CacheLayout> create(const Plan& plan, Pool& pool);

  const Plan& plan() const { return plan_; }
  const CacheShape& shape() const { return plan_.shape; }
  const HeadLayout& head(uint32_t index) const { return heads_[index]; }
  uint32_t heads() const { return static_cast<uint32_t>(heads_.size()); }

  // Does the layer hold rows, or read those of another layer?
  bool owns(uint32_t layer) const { return plan_.shape.owner[layer] == layer; }

  PageClass open_class() const { return open_; }
  PageClass sinks_class() const { return sinks_; }
  PageClass queries_class() const { return queries_; }
  PageClass state_class() const { return state_; }
  PageClass moments_class() const { return moments_; }
  PageClass waiting_class() const { return waiting_; }
  // Do later layers see fewer rows, so that hidden states wait for the prompt's end?
  bool filters_rows() const;

  // What selectors and refinements of the plan need.
  const SelectorNeeds& needs() const { return needs_; }
  // Floats that each row carries: its total first, where those are kept, then the selector's own.
  uint32_t state_floats() const { return state_floats_; }
  uint32_t own_state() const { return needs_.totals ? 1 : 0; }  // where the selector's own begin
  // Does the plan's selector note more of each row than the last queries, while it is read?
  bool notes_every_row() const { return state_floats_ > 0 || needs_.query_moments; }
  // Does anything but the row itself write to a row's page: numbers that rows carry, or rows that
  // others merge into?
  bool rewrites_exact_rows() const;
  // Floats of one query head's moments: the mean, then the upper half of the scatter matrix.
  size_t moment_floats() const {
    return shape().head_dim + shape().head_dim * (size_t{shape().head_dim} + 1) / 2;
  }

  // Bytes of one exact row (key or value alone) and where row `slot` lies in a page of `slots`
  // slots.
  size_t exact_row_bytes() const { return row_bytes_; }
  size_t exact_key_offset(uint32_t slot) const { return slot * row_bytes_; }
  size_t exact_value_offset(uint32_t slot, uint32_t slots) const {
    return (slots + slot) * row_bytes_;
  }
  size_t exact_state_offset(uint32_t slot, uint32_t slots) const {
    return 2 * slots * row_bytes_ + slot * state_floats_ * sizeof(float);
  }
  // Bytes of a page of `slots` exact rows.
  size_t exact_page_bytes(uint32_t slots) const { return exact_state_offset(slots, slots); }

  // The queries a selector observes: [observe, query_heads, head_dim] per layer, position p in row
  // p % observe, and behind them [observe, query_heads] floats, the logarithm of what attention
  // divided by. 0: none are kept.
  uint32_t observe() const { return needs_.observe; }
  size_t observed_row_bytes() const { return shape().query_heads * row_bytes_; }
  size_t observed_sums_offset() const { return observe() * observed_row_bytes(); }

  // What a sequence of at most `tokens` tokens, of which `prompt` are its prompt, holds at its
  // worst moment. Where a plan settles at the prompt's end only, `prompt` is the longest stretch
  // that is read before it settles for the first time; more prompts may follow.
  Quota worst_case(uint32_t prompt, uint32_t tokens) const;
  // Bytes of the same.
  size_t worst_case_bytes(uint32_t prompt, uint32_t tokens) const;
  // Its parts; their total is worst_case_bytes.
  ReservationParts worst_case_parts(uint32_t prompt, uint32_t tokens) const;
  // Bytes that the full cache (f16, nothing dropped) would take for `tokens` tokens, by rows.
  size_t full_cache_bytes(uint32_t tokens) const;

 private:
  CacheLayout() = default;
  // Sealed pages of one head: what it holds between settlings, and what settling adds to it for as
  // long as old and new pages exist side by side.
  struct SealedPages {
    size_t held = 0;
    size_t beside = 0;
    size_t rows = 0;  // that the held ones are for
  };
  // What the budget says before the prompt is read: [heads] rows each.
  struct Bounds {
    std::vector<uint32_t> most;
    std::vector<uint32_t> shares;  // where rows move from head to head
    Scope scope = Scope::head;
  };
  class PageSum;
  Bounds bounds(uint32_t tokens) const;
  // Rows of a head that shares with others.
  uint32_t shared_rows(const Bounds& bounds, uint32_t head, uint32_t tokens) const;
  std::vector<SealedPages> most_sealed_pages(uint32_t tokens, size_t open_rows) const;
  size_t most_sealed_row_bytes(uint32_t tokens, size_t open_rows) const;
  size_t owned_heads() const;
  SealedPages most_sealed(const HeadLayout& head, uint32_t budget, size_t open_rows,
                          uint32_t tokens) const;
  size_t most_open_rows(uint32_t prompt, uint32_t tokens) const;

  Plan plan_;
  std::vector<HeadLayout> heads_;
  std::vector<size_t> class_bytes_;  // by page class, as far as this layout uses them
  size_t row_bytes_ = 0;
  SelectorNeeds needs_;
  uint32_t state_floats_ = 0;
  PageClass open_ = 0;
  PageClass sinks_ = 0;
  PageClass queries_ = 0;
  PageClass state_ = 0;
  PageClass moments_ = 0;
  PageClass waiting_ = 0;
};

}  // namespace skvis
