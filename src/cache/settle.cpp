// SPDX-License-Identifier: Apache-2.0
#include "cache/settle.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <numeric>

#include "cache/rows.hpp"

namespace skvis {

// One settling, layer by layer, so that only one layer's pages exist twice.
class Settle {
 public:
  Settle(SequenceCache& sequence, const AttentionStatistics& statistics, ThreadPool& threads)
      : sequence_(sequence),
        layout_(sequence.layout()),
        plan_(layout_.plan()),
        pool_(sequence.pool()),
        statistics_(statistics),
        threads_(threads),
        at_(sequence.committed()),
        seal_end_(std::max(sequence.open_begin(), at_ - std::min(at_, plan_.exact))),
        work_(layout_.heads()),
        counts_(layout_.heads()) {}

  Result<void> run();

 private:
  // What happens to one head.
  struct HeadWork {
    std::vector<LiveRow> rows;     // of heads that a selector judges
    std::vector<float> scores;     // [rows]
    std::vector<uint64_t> live;    // [sealed pages] masks after dropping
    uint32_t rebuild_from = 0;     // sealed pages from here on are packed anew
    std::vector<LiveRow> moved;    // live rows of those pages
    std::vector<uint32_t> fresh;   // positions of exact rows that get their code
    std::vector<PageEntry> pages;  // the new pages
  };

  void score(uint32_t head);
  void average_scores(uint32_t layer);
  void score_layer(uint32_t layer);
  void count();
  bool droppable(const HeadLayout& head, const LiveRow& row) const;
  void choose(uint32_t head);
  void arrange(uint32_t head);
  Result<void> seal_layer(uint32_t layer);
  bool allocate_layer(uint32_t layer);
  bool fill(uint32_t head);
  void replace_pages(uint32_t head);
  void free_exact(uint32_t head);

  SequenceCache& sequence_;
  const CacheLayout& layout_;
  const Plan& plan_;
  Pool& pool_;
  const AttentionStatistics& statistics_;
  ThreadPool& threads_;
  const uint32_t at_;        // the grid point: rows below it exist
  const uint32_t seal_end_;  // exact rows below it are encoded or dropped
  std::vector<HeadWork> work_;
  std::vector<uint32_t> counts_;  // rows that each head may keep
};

void Settle::score(uint32_t index) {
  if (!layout_.head(index).selectable) return;
  HeadWork& work = work_[index];
  const CacheShape& shape = layout_.shape();
  const SelectorNeeds needs = plan_.keep.selector->needs(plan_.keep.settings);
  work.rows = live_rows(sequence_, index, at_);
  std::vector<uint32_t> positions(work.rows.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = work.rows[i].position;
  work.scores.resize(work.rows.size());

  SelectorView view;
  view.id = shape.head(index);
  view.group_size = shape.group_size();
  view.rows = static_cast<uint32_t>(work.rows.size());
  view.tokens = at_;
  view.positions = positions.data();
  std::vector<float> columns;
  if (needs.columns == QueryRows::last) {
    view.query_rows = std::min(needs.observe, at_);
    const size_t sums = needs.reduce == GroupReduce::none ? shape.group_size() : 1;
    columns.resize(sums * work.rows.size());
    statistics_.column_sums(sequence_, index, view.query_rows, needs.reduce, columns);
    view.columns = columns.data();
  }
  std::vector<float> keys;
  std::vector<float> values;
  const auto gather = [&](Role role, std::vector<float>& memory) -> RowsView {
    memory.resize(work.rows.size() * shape.head_dim);
    decode_rows(sequence_, index, role, work.rows, memory.data());
    return {memory.data(), work.rows.size(), shape.head_dim, shape.head_dim};
  };
  if (needs.keys) view.keys = gather(Role::key, keys);
  if (needs.values) view.values = gather(Role::value, values);
  plan_.keep.selector->score(plan_.keep.settings, view, work.scores.data());
}

// Gives every row of the layer's heads the mean score of the rows at its position.
void Settle::average_scores(uint32_t layer) {
  const uint32_t heads = layout_.shape().kv_heads;
  std::vector<double> sums(at_);
  std::vector<uint32_t> counts(at_);
  for (uint32_t index = layer * heads; index < (layer + 1) * heads; ++index) {
    const HeadWork& work = work_[index];
    for (size_t i = 0; i < work.scores.size(); ++i) {
      sums[work.rows[i].position] += work.scores[i];
      ++counts[work.rows[i].position];
    }
  }
  for (uint32_t index = layer * heads; index < (layer + 1) * heads; ++index) {
    HeadWork& work = work_[index];
    for (size_t i = 0; i < work.scores.size(); ++i) {
      const uint32_t position = work.rows[i].position;
      work.scores[i] = static_cast<float>(sums[position] / counts[position]);
    }
  }
}

void Settle::score_layer(uint32_t layer) {
  const uint32_t heads = layout_.shape().kv_heads;
  threads_.run(heads, [&](size_t i, size_t) { score(layer * heads + static_cast<uint32_t>(i)); });
  if (plan_.keep.selector->per_layer) average_scores(layer);
}

void Settle::count() {
  BudgetRequest request = plan_.budget_request(at_);
  std::vector<std::vector<float>> judged(layout_.heads());
  std::vector<std::span<const float>> scores(layout_.heads());
  std::vector<uint32_t> fixed(layout_.heads());
  if (plan_.keep.budget->needs_scores) {
    for (uint32_t index = 0; index < layout_.heads(); ++index) {
      const HeadWork& work = work_[index];
      for (size_t i = 0; i < work.rows.size(); ++i) {
        if (droppable(layout_.head(index), work.rows[i])) judged[index].push_back(work.scores[i]);
      }
      scores[index] = judged[index];
      fixed[index] = static_cast<uint32_t>(work.rows.size() - judged[index].size());
    }
    request.scores = scores;
    request.fixed_rows = fixed;
  }
  plan_.keep.budget->counts(request, counts_);
}

// Sinks, the exact tail and recent rows stay, and under a ratio what was judged before.
bool Settle::droppable(const HeadLayout& head, const LiveRow& row) const {
  const uint32_t newest = plan_.protected_tail();
  const uint32_t begin = head.judged_once ? sequence_.judged_end() : plan_.sinks;
  return row.position >= std::max(begin, plan_.sinks) && row.position < at_ - std::min(at_, newest);
}

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
      work.fresh.push_back(position);
    }
    return;
  }
  std::vector<uint32_t> candidates;
  for (uint32_t i = 0; i < work.rows.size(); ++i) {
    if (droppable(layout_.head(index), work.rows[i])) candidates.push_back(i);
  }
  const size_t fixed = work.rows.size() - candidates.size();
  const size_t quota =
      std::min(candidates.size(), counts_[index] - std::min<size_t>(counts_[index], fixed));
  std::vector<uint8_t> dropped(work.rows.size(), 0);
  if (quota < candidates.size()) {
    // The best `quota` to the front; of equal scores the older row.
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(quota),
                     candidates.end(), [&](uint32_t a, uint32_t b) {
                       return work.scores[a] != work.scores[b] ? work.scores[a] > work.scores[b]
                                                               : a < b;
                     });
    for (size_t i = quota; i < candidates.size(); ++i) dropped[candidates[i]] = 1;
  }
  for (size_t i = 0; i < work.rows.size(); ++i) {
    const LiveRow& row = work.rows[i];
    if (row.page != LiveRow::kExact) {
      if (dropped[i]) work.live[row.page] &= ~(uint64_t{1} << row.slot);
    } else if (!dropped[i] && row.position >= sequence_.open_begin() && row.position < seal_end_) {
      work.fresh.push_back(row.position);
    }
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
      entry.page = pool_.allocate(layout_.head(index).sealed, sequence_.reservation());
      if (entry.page == kNoPage) return false;
    }
  }
  return true;
}

// Writes the new pages of a head. Runs on a worker; touches nothing but these pages.
bool Settle::fill(uint32_t index) {
  HeadWork& work = work_[index];
  const HeadLayout& head = layout_.head(index);
  const size_t head_dim = layout_.shape().head_dim;
  std::vector<uint32_t> positions;
  const auto place = [&](size_t row) -> PageEntry& { return work.pages[row / kPageSlots]; };
  for (size_t i = 0; i < work.moved.size(); ++i) {
    const LiveRow& row = work.moved[i];
    const std::byte* from = pool_.data(sequence_.head(index).sealed.pages[row.page].page);
    std::byte* to = pool_.data(place(i).page);
    const auto slot = static_cast<uint32_t>(i % kPageSlots);
    head.key.codec->copy_slot(head.key_context, from, row.slot, head.key_context, to, slot);
    head.value.codec->copy_slot(head.value_context, from + head.key_bytes, row.slot,
                                head.value_context, to + head.key_bytes, slot);
    positions.push_back(row.position);
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
    pool_.free(pages[i].page, sequence_.reservation(), pages[i].live);
  }
  pages.resize(work.rebuild_from);
  // Pages before it are full, or left the window as a whole.
  uint32_t index_of_page = 0;
  std::erase_if(pages, [&](const PageEntry& entry) {
    if (work.live[index_of_page++] != 0) return false;
    pool_.free(entry.page, sequence_.reservation(), entry.live);
    return true;
  });
  for (PageEntry& entry : work.pages) {
    pool_.add_live(entry.page, entry.live);
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
                              page.live &= ~mask;
                              pool_.drop_live(page.page, mask);
                            });
  while (!head.open.empty() && head.open.front().live == 0) {
    pool_.free(head.open.front().page, sequence_.reservation(), 0);
    head.open.erase(head.open.begin());
  }
}

Result<void> Settle::seal_layer(uint32_t layer) {
  const uint32_t heads = layout_.shape().kv_heads;
  const uint32_t first = layer * heads;
  const bool scored = plan_.drops() && plan_.keep.budget->needs_scores;
  std::atomic<bool> finite{true};
  if (plan_.drops() && !scored) score_layer(layer);
  threads_.run(heads, [&](size_t i, size_t) {
    const uint32_t index = first + static_cast<uint32_t>(i);
    choose(index);
    arrange(index);
  });
  if (!allocate_layer(layer)) {
    for (uint32_t index = first; index < first + heads; ++index) {
      for (const PageEntry& entry : work_[index].pages) {
        if (entry.page != kNoPage) pool_.free(entry.page, sequence_.reservation(), 0);
      }
    }
    return fail("KV memory is full: layer {} cannot be settled at token {}", layer, at_);
  }
  threads_.run(heads, [&](size_t i, size_t) {
    if (!fill(first + static_cast<uint32_t>(i))) finite.store(false, std::memory_order_relaxed);
  });
  if (!finite.load()) {
    for (uint32_t index = first; index < first + heads; ++index) {
      for (const PageEntry& entry : work_[index].pages) {
        pool_.free(entry.page, sequence_.reservation(), 0);
      }
    }
    return fail(
        "layer {}: a key or value before token {} is not finite or too large for its code; the "
        "model's weights are damaged or its activations overflow",
        layer, at_);
  }
  for (uint32_t index = first; index < first + heads; ++index) replace_pages(index);
  return {};
}

Result<void> Settle::run() {
  const uint32_t layers = layout_.shape().layers;
  if (plan_.drops()) {
    if (plan_.keep.budget->needs_scores) {
      for (uint32_t layer = 0; layer < layers; ++layer) score_layer(layer);
    }
    count();
  }
  for (uint32_t layer = 0; layer < layers; ++layer) {
    if (auto sealed = seal_layer(layer); !sealed) {
      sequence_.broken_ = layer > 0;
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
