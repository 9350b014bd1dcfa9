// SPDX-License-Identifier: Apache-2.0
// The sealed pages of one head: page numbers, per page a mask of live rows, and the true positions
// of the rows. Every head has its own table, so that every head may hold a different number of
// rows.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "cache/pool.hpp"

namespace skvis {

struct PageEntry {
  PageId page = kNoPage;
  PageId state = kNoPage;           // side data: [slots, floats per row] where rows carry state
  uint64_t live = 0;                // bit s: slot s holds a row of this sequence
  uint32_t filled = 0;              // slots that were written; the others are zero
  uint32_t first = 0;               // position of slot 0
  std::vector<uint32_t> positions;  // [filled]; empty: slot s has position first + s

  uint32_t position(uint32_t slot) const {
    return positions.empty() ? first + slot : positions[slot];
  }
  uint32_t rows() const { return static_cast<uint32_t>(std::popcount(live)); }
  // Rows that a window beginning at `begin` still sees.
  uint64_t live_from(uint32_t begin) const {
    uint64_t mask = live;
    for (uint32_t slot = 0; slot < filled && position(slot) < begin; ++slot) {
      mask &= ~(uint64_t{1} << slot);
    }
    return mask;
  }
};

struct PageTable {
  std::vector<PageEntry> pages;  // in the order of positions
  uint32_t rows() const {
    uint32_t sum = 0;
    for (const PageEntry& entry : pages) sum += entry.rows();
    return sum;
  }
};

}  // namespace skvis
