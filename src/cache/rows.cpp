// SPDX-License-Identifier: Apache-2.0
#include "cache/rows.hpp"

#include <algorithm>

namespace skvis {

std::vector<LiveRow> live_rows(const SequenceCache& sequence, uint32_t head, uint32_t length) {
  std::vector<LiveRow> rows;
  if (!sequence.layout().head(head).owned) return rows;
  const HeadCache& cache = sequence.head(head);
  const size_t open = length - std::min(length, sequence.open_begin());
  rows.reserve((cache.sealed.pages.size() + 1) * kPageSlots + open);
  for (uint64_t rest = cache.sinks.live; rest != 0; rest &= rest - 1) {
    const auto slot = static_cast<uint32_t>(std::countr_zero(rest));
    if (slot < length) rows.push_back({slot, LiveRow::kExact, slot});
  }
  for (uint32_t page = 0; page < cache.sealed.pages.size(); ++page) {
    const PageEntry& entry = cache.sealed.pages[page];
    if (entry.live == ~uint64_t{0}) {  // as most are
      const size_t first = rows.size();
      rows.resize(first + kPageSlots);
      for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
        rows[first + slot] = {entry.position(slot), page, slot};
      }
      continue;
    }
    for (uint64_t rest = entry.live; rest != 0; rest &= rest - 1) {
      const auto slot = static_cast<uint32_t>(std::countr_zero(rest));
      rows.push_back({entry.position(slot), page, slot});
    }
  }
  for (uint32_t base = sequence.open_begin(); base < length; base += kPageSlots) {
    const uint32_t count = std::min(length - base, kPageSlots);
    for (uint64_t rest = sequence.open_live(head, base, count); rest != 0; rest &= rest - 1) {
      rows.push_back({base + static_cast<uint32_t>(std::countr_zero(rest)), LiveRow::kExact, 0});
    }
  }
  return rows;
}

size_t first_row_at(std::span<const LiveRow> rows, uint32_t position) {
  const auto row = std::ranges::lower_bound(rows, position, {}, &LiveRow::position);
  return static_cast<size_t>(row - rows.begin());
}

float* row_state(SequenceCache& sequence, uint32_t head, const LiveRow& row) {
  if (row.page == LiveRow::kExact) return sequence.exact_state(head, row.position);
  return sequence.sealed_state(sequence.head(head).sealed.pages[row.page], row.slot);
}

void decode_rows(const SequenceCache& sequence, uint32_t head, Role role,
                 std::span<const LiveRow> rows, float* out) {
  const CacheLayout& layout = sequence.layout();
  const HeadLayout& head_layout = layout.head(head);
  const size_t head_dim = layout.shape().head_dim;
  const bool key = role == Role::key;
  const Code& code = key ? head_layout.key : head_layout.value;
  const BlockContext& context = key ? head_layout.key_context : head_layout.value_context;
  for (size_t i = 0; i < rows.size();) {
    if (rows[i].page == LiveRow::kExact) {
      const std::byte* row = key ? sequence.exact_key(head, rows[i].position)
                                 : sequence.exact_value(head, rows[i].position);
      load_exact(layout.plan().exact_type, row, head_dim, out + i * head_dim);
      ++i;
      continue;
    }
    // Neighbouring slots of a page together.
    size_t end = i + 1;
    while (end < rows.size() && rows[end].page == rows[i].page &&
           rows[end].slot == rows[end - 1].slot + 1) {
      ++end;
    }
    const PageId page = sequence.head(head).sealed.pages[rows[i].page].page;
    const std::byte* block = sequence.pool().data(page) + (key ? 0 : head_layout.key_bytes);
    code.decode(context, block, rows[i].slot, static_cast<uint32_t>(end - i), out + i * head_dim);
    i = end;
  }
}

}  // namespace skvis
