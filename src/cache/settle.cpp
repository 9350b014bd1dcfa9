// SPDX-License-Identifier: Apache-2.0
#include "cache/settle.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "cache/judge.hpp"

namespace skvis {

// One settling. Layers go together, enough of them to keep every thread busy, for as long as old
// and new pages find room side by side; a reservation has room for one layer's.
class Settle {
 public:
  Settle(SequenceCache& sequence, const AttentionStatistics& statistics, ThreadPool& threads)
      : sequence_(sequence),
        layout_(sequence.layout()),
        plan_(layout_.plan()),
        pool_(sequence.pool()),
        threads_(threads),
        judge_(sequence, statistics, threads),
        at_(sequence.committed()),
        seal_end_(std::max(sequence.open_begin(), at_ - std::min(at_, plan_.exact))),
        work_(layout_.heads()) {}

  Result<void> run();

 private:
  // What happens to one head.
  struct HeadWork {
    Judge::Verdict verdict;        // of heads that a selector judges
    std::vector<uint64_t> live;    // [sealed pages] masks after dropping
    uint32_t rebuild_from = 0;     // sealed pages from here on are packed anew
    std::vector<LiveRow> moved;    // live rows of those pages
    std::vector<uint32_t> fresh;   // positions of exact rows that get their code
    std::vector<PageEntry> pages;  // the new pages
  };

  void choose(uint32_t head);
  void arrange(uint32_t head);
  uint32_t layers_together() const;
  Result<void> seal_layers(uint32_t first, uint32_t last);
  Result<void> fill_layers(uint32_t first, uint32_t last);
  bool allocate_layer(uint32_t layer);
  size_t begin_pages(uint32_t head);
  bool fill(uint32_t head);
  void move_state(uint32_t head);
  void free_page(const PageEntry& entry, uint64_t live);
  void free_new_pages(uint32_t layer);
  void replace_pages(uint32_t head);
  void free_exact(uint32_t head);

  SequenceCache& sequence_;
  const CacheLayout& layout_;
  const Plan& plan_;
  Pool& pool_;
  ThreadPool& threads_;
  Judge judge_;
  const uint32_t at_;        // the grid point: rows below it exist
  const uint32_t seal_end_;  // exact rows below it are encoded or dropped
  std::vector<HeadWork> work_;
  bool replaced_ = false;  // do some layers have their new pages?
};

// Clears the masks of sealed rows that go, and lists the exact rows that get their code.
void Settle::choose(uint32_t index) {
  HeadWork& work = work_[index];
  const HeadCache& head = sequence_.head(index);
  work.live.clear();
  for (const PageEntry& entry : head.sealed.pages) work.live.push_back(entry.live);

  if (!layout_.head(index).owned) return;
  if (!layout_.head(index).selectable) {
    // Rows that the next query's window does not reach need no code.
    const uint32_t begin = window_begin(layout_.head(index).window, at_);
    for (uint32_t position = std::max(begin, sequence_.open_begin()); position < seal_end_;
         ++position) {
      if (sequence_.open_live(index, position, 1) != 0) work.fresh.push_back(position);
    }
    return;
  }
  work.verdict = judge_.verdict(index);
  const std::vector<LiveRow>& rows = work.verdict.rows;
  const std::vector<uint8_t>& dropped = work.verdict.dropped;
  const size_t open = first_row_at(rows, sequence_.open_begin());
  for (size_t i = 0; i < open; ++i) {
    if (dropped[i]) work.live[rows[i].page] &= ~(uint64_t{1} << rows[i].slot);
  }
  for (size_t i = open; i < rows.size() && rows[i].position < seal_end_; ++i) {
    if (!dropped[i]) work.fresh.push_back(rows[i].position);
  }
}

// Decides which sealed pages are packed anew: all from the first that is not full of live rows.
// Rows that left a sliding window only take whole pages with them: those at the front.
void Settle::arrange(uint32_t index) {
  HeadWork& work = work_[index];
  const HeadCache& head = sequence_.head(index);
  const uint32_t window = layout_.head(index).window;
  const auto pages = static_cast<uint32_t>(head.sealed.pages.size());
  for (uint32_t i = 0; i < pages && window > 0; ++i) {
    const PageEntry& entry = head.sealed.pages[i];
    if (entry.position(entry.filled - 1) < window_begin(window, at_)) work.live[i] = 0;
  }
  work.rebuild_from = 0;
  while (work.rebuild_from < pages &&
         (work.live[work.rebuild_from] == ~uint64_t{0} || work.live[work.rebuild_from] == 0)) {
    ++work.rebuild_from;
  }
  if (work.fresh.empty() && work.rebuild_from + 1 >= pages &&
      (work.rebuild_from == pages || work.live[pages - 1] == head.sealed.pages[pages - 1].live)) {
    work.rebuild_from = pages;  // only a last page that is not full yet: nothing to gain
  }
  for (uint32_t i = work.rebuild_from; i < pages; ++i) {
    for (uint64_t rest = work.live[i]; rest != 0; rest &= rest - 1) {
      const auto slot = static_cast<uint32_t>(std::countr_zero(rest));
      work.moved.push_back({head.sealed.pages[i].position(slot), i, slot});
    }
  }
}

bool Settle::allocate_layer(uint32_t layer) {
  const uint32_t heads = layout_.shape().kv_heads;
  for (uint32_t index = layer * heads; index < (layer + 1) * heads; ++index) {
    HeadWork& work = work_[index];
    const size_t rows = work.moved.size() + work.fresh.size();
    work.pages.resize((rows + kPageSlots - 1) / kPageSlots);
    for (PageEntry& entry : work.pages) {
      entry.page = pool_.claim(layout_.head(index).sealed, sequence_.reservation());
      if (entry.page == kNoPage) return false;
      if (layout_.state_floats() == 0 || !layout_.head(index).selectable) continue;
      entry.state = pool_.claim(layout_.state_class(), sequence_.reservation());
      if (entry.state == kNoPage) return false;
    }
  }
  return true;
}

// A page and what its rows carry; `live`: the slots that this sequence uses.
void Settle::free_page(const PageEntry& entry, uint64_t live) {
  if (entry.page != kNoPage) pool_.free(entry.page, sequence_.reservation(), live);
  if (entry.state != kNoPage) pool_.free(entry.state, sequence_.reservation(), live != 0);
}

void Settle::free_new_pages(uint32_t layer) {
  const uint32_t heads = layout_.shape().kv_heads;
  for (uint32_t index = layer * heads; index < (layer + 1) * heads; ++index) {
    for (const PageEntry& entry : work_[index].pages) free_page(entry, 0);
    work_[index].pages.clear();
  }
}

// What rows carry goes with them to the new pages.
void Settle::move_state(uint32_t index) {
  const HeadWork& work = work_[index];
  const size_t bytes = layout_.state_floats() * sizeof(float);
  if (bytes == 0 || !layout_.head(index).selectable) return;
  for (size_t i = 0; i < work.moved.size() + work.fresh.size(); ++i) {
    const PageEntry& to = work.pages[i / kPageSlots];
    const float* from =
        i < work.moved.size()
            ? sequence_.sealed_state(sequence_.head(index).sealed.pages[work.moved[i].page],
                                     work.moved[i].slot)
            : sequence_.exact_state(index, work.fresh[i - work.moved.size()]);
    std::memcpy(sequence_.sealed_state(to, static_cast<uint32_t>(i % kPageSlots)), from, bytes);
  }
}

// Readies the new pages of a head: slots that no row fills hold zeros. Returns how many rows are in
// place already: a last page whose rows all stay is copied whole and goes on.
size_t Settle::begin_pages(uint32_t index) {
  const HeadWork& work = work_[index];
  const size_t bytes = pool_.page_bytes(layout_.head(index).sealed);
  size_t in_place = 0;
  if (!work.moved.empty()) {
    const uint32_t page = work.moved.front().page;
    const PageEntry& old = sequence_.head(index).sealed.pages[page];
    if (page == work.rebuild_from && old.live == work.live[page] &&
        old.live == slot_bits(0, old.filled)) {
      in_place = old.filled;
      std::memcpy(pool_.data(work.pages[0].page), pool_.data(old.page), bytes);
    }
  }
  // Only a last page has slots that no row fills.
  const bool all_filled = (work.moved.size() + work.fresh.size()) % kPageSlots == 0;
  if (!work.pages.empty() && !all_filled && (in_place == 0 || work.pages.size() > 1)) {
    std::memset(pool_.data(work.pages.back().page), 0, bytes);
  }
  for (const PageEntry& entry : work.pages) {
    if (entry.state == kNoPage) continue;
    std::memset(pool_.data(entry.state), 0, pool_.page_bytes(layout_.state_class()));
  }
  return in_place;
}

// Writes the new pages of a head. Runs on a worker; touches nothing but these pages, and rows that
// others merge into.
bool Settle::fill(uint32_t index) {
  HeadWork& work = work_[index];
  const HeadLayout& head = layout_.head(index);
  const size_t head_dim = layout_.shape().head_dim;
  judge_.merge(index, work.verdict);
  const size_t in_place = begin_pages(index);
  move_state(index);
  std::vector<uint32_t> positions;
  const auto place = [&](size_t row) -> PageEntry& { return work.pages[row / kPageSlots]; };
  for (size_t i = 0; i < work.moved.size(); ++i) {
    const LiveRow& row = work.moved[i];
    positions.push_back(row.position);
    if (i < in_place) continue;
    const std::byte* from = pool_.data(sequence_.head(index).sealed.pages[row.page].page);
    std::byte* to = pool_.data(place(i).page);
    const auto slot = static_cast<uint32_t>(i % kPageSlots);
    head.key.codec->copy_slot(head.key_context, from, row.slot, head.key_context, to, slot);
    head.value.codec->copy_slot(head.value_context, from + head.key_bytes, row.slot,
                                head.value_context, to + head.key_bytes, slot);
  }
  std::vector<float> rows(kPageSlots * head_dim);
  const ExactType type = plan_.exact_type;
  for (size_t i = 0; i < work.fresh.size();) {
    const size_t row = work.moved.size() + i;
    const auto slot = static_cast<uint32_t>(row % kPageSlots);
    const size_t count = std::min<size_t>(kPageSlots - slot, work.fresh.size() - i);
    std::byte* page = pool_.data(place(row).page);
    const RowsView view{rows.data(), count, head_dim, head_dim};
    for (size_t k = 0; k < count; ++k) {
      load_exact(type, sequence_.exact_key(index, work.fresh[i + k]), head_dim,
                 rows.data() + k * head_dim);
    }
    if (!head.key.encode(head.key_context, view, slot, page)) return false;
    for (size_t k = 0; k < count; ++k) {
      load_exact(type, sequence_.exact_value(index, work.fresh[i + k]), head_dim,
                 rows.data() + k * head_dim);
    }
    if (!head.value.encode(head.value_context, view, slot, page + head.key_bytes)) return false;
    positions.insert(positions.end(), work.fresh.begin() + static_cast<ptrdiff_t>(i),
                     work.fresh.begin() + static_cast<ptrdiff_t>(i + count));
    i += count;
  }
  for (size_t i = 0; i < positions.size(); i += kPageSlots) {
    PageEntry& entry = place(i);
    entry.filled = static_cast<uint32_t>(std::min<size_t>(kPageSlots, positions.size() - i));
    entry.live = entry.filled == 64 ? ~uint64_t{0} : (uint64_t{1} << entry.filled) - 1;
    entry.first = positions[i];
    if (positions[i + entry.filled - 1] != entry.first + entry.filled - 1) {
      entry.positions.assign(positions.begin() + static_cast<ptrdiff_t>(i),
                             positions.begin() + static_cast<ptrdiff_t>(i + entry.filled));
    }
  }
  return true;
}

void Settle::replace_pages(uint32_t index) {
  HeadWork& work = work_[index];
  std::vector<PageEntry>& pages = sequence_.heads_[index].sealed.pages;
  for (uint32_t i = work.rebuild_from; i < pages.size(); ++i) {
    free_page(pages[i], pages[i].live);
  }
  pages.resize(work.rebuild_from);
  // Pages before it are full, or left the window as a whole.
  uint32_t index_of_page = 0;
  std::erase_if(pages, [&](const PageEntry& entry) {
    if (work.live[index_of_page++] != 0) return false;
    free_page(entry, entry.live);
    return true;
  });
  for (PageEntry& entry : work.pages) {
    pool_.add_live(entry.page, entry.live);
    if (entry.state != kNoPage) pool_.add_live(entry.state, 1);
    pages.push_back(std::move(entry));
  }
  free_exact(index);
  work = {};
}

// Frees the exact rows below seal_end_, and sinks that no sliding window reaches any more.
void Settle::free_exact(uint32_t index) {
  if (!layout_.head(index).owned) return;
  HeadCache& head = sequence_.heads_[index];
  const uint32_t window = layout_.head(index).window;
  if (head.sinks.page != kNoPage && plan_.sinks <= window_begin(window, at_)) {
    pool_.free(head.sinks.page, sequence_.reservation(), head.sinks.live);
    head.sinks = {};
  }
  sequence_.each_exact_page(head, sequence_.open_begin_, seal_end_,
                            [&](ExactPage& page, uint64_t mask) {
                              pool_.drop_live(page.page, mask & page.live);
                              page.live &= ~mask;
                            });
  while (!head.open.empty() && head.open.front().live == 0) {
    pool_.free(head.open.front().page, sequence_.reservation(), 0);
    head.open.erase(head.open.begin());
  }
}

// Heads differ in what there is to do: about sixteen for each thread even that out.
uint32_t Settle::layers_together() const {
  const uint32_t heads = layout_.shape().kv_heads;
  return static_cast<uint32_t>((16 * threads_.threads() + heads - 1) / heads);
}

Result<void> Settle::seal_layers(uint32_t first, uint32_t last) {
  const uint32_t heads = layout_.shape().kv_heads;
  if (plan_.drops() && judge_.scores_ahead() && !plan_.keep.budget->needs_scores) {
    judge_.score_layers(first, last);
  }
  threads_.run((last - first) * heads, [&](size_t i, size_t) {
    const uint32_t index = first * heads + static_cast<uint32_t>(i);
    choose(index);
    arrange(index);
  });
  while (first < last) {
    uint32_t end = first;
    while (end < last && allocate_layer(end)) ++end;
    if (end < last) free_new_pages(end);  // those that were found before room ran out
    if (end == first)
      return fail("KV memory is full: layer {} cannot be settled at token {}", first, at_);
    SKVIS_CHECK(fill_layers(first, end));
    first = end;
  }
  return {};
}

// Writes the new pages of layers that have them all, and lets the old ones go.
Result<void> Settle::fill_layers(uint32_t first, uint32_t last) {
  const uint32_t heads = layout_.shape().kv_heads;
  std::vector<uint8_t> filled(size_t{last - first} * heads);
  threads_.run(filled.size(), [&](size_t i, size_t) {
    filled[i] = fill(first * heads + static_cast<uint32_t>(i));
  });
  const auto bad = std::find(filled.begin(), filled.end(), 0);
  if (bad != filled.end()) {
    for (uint32_t layer = first; layer < last; ++layer) free_new_pages(layer);
    return fail(
        "layer {}: a key or value before token {} is not finite or too large for its code; the "
        "model's weights are damaged or its activations overflow",
        first + static_cast<uint32_t>(bad - filled.begin()) / heads, at_);
  }
  for (uint32_t index = first * heads; index < last * heads; ++index) replace_pages(index);
  replaced_ = true;
  return {};
}

Result<void> Settle::run() {
  const uint32_t layers = layout_.shape().layers;
  if (plan_.drops()) {
    if (plan_.keep.budget->needs_scores) judge_.score_layers(0, layers);
    judge_.count();
  }
  const uint32_t together = layers_together();
  for (uint32_t layer = 0; layer < layers; layer += together) {
    if (auto sealed = seal_layers(layer, std::min(layers, layer + together)); !sealed) {
      sequence_.broken_ = replaced_;
      return sealed;
    }
  }
  // All heads lost the same open pages.
  if (seal_end_ == sequence_.length_) {
    sequence_.open_base_ = seal_end_;
  } else {
    sequence_.open_base_ += (seal_end_ - sequence_.open_base_) / kOpenSlots * kOpenSlots;
  }
  sequence_.open_begin_ = seal_end_;
  if (plan_.drops()) {
    const uint32_t judged = at_ - std::min(at_, plan_.protected_tail());
    sequence_.judged_end_ = std::max(sequence_.judged_end_, judged);
  }
  return {};
}

Result<void> settle(SequenceCache& sequence, const AttentionStatistics& statistics,
                    ThreadPool& threads) {
  assert(sequence.committed() == sequence.length() && !sequence.broken());
  return Settle(sequence, statistics, threads).run();
}

}  // namespace skvis
