// SPDX-License-Identifier: Apache-2.0
// Splits a step's attention over workers ahead of time (after Tangram, 2026, which does so for
// thread blocks): which worker takes which partials is a table that holds for as long as no head
// changes its length class, whatever the steps in between append.
//
// Partials stand in one list, head after head, and have fixed borders of their own; they join in
// the order of the list. So results depend on neither the table nor the number of workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace skvis {

// [workers + 1] Worker w takes the partials [borders[w], borders[w + 1]) of the list. `bytes` [n]
// is what each of them reads. No other split into contiguous runs has a smaller largest run; it is
// at most the mean and one partial. workers > 0.
std::vector<uint32_t> even_borders(std::span<const uint32_t> bytes, uint32_t workers);

// The largest run over the mean of all workers; 1 where there is nothing to read.
double imbalance(std::span<const uint32_t> bytes, std::span<const uint32_t> borders);

class SplitTable {
 public:
  explicit SplitTable(uint32_t workers) : workers_(workers) {}

  // classes [heads]: the length class of each (sequence, KV head) of the step, in the order of the
  // list. From a class must follow how many partials the head has; the number itself is the
  // coarsest class, the number of pages a finer one, under which last partials do not outgrow the
  // table. list_head(head, bytes) appends the bytes of the head's partials; it is asked only where
  // a class is not the last call's. The borders are valid until the next call.
  template <typename ListHead>
  std::span<const uint32_t> borders(std::span<const uint32_t> classes, ListHead&& list_head) {
    if (!same(classes)) {
      bytes_.clear();
      for (size_t head = 0; head < classes.size(); ++head) list_head(head, bytes_);
      compute();
    }
    return borders_;
  }
  // How often the table was made.
  uint64_t computed() const { return computed_; }

 private:
  bool same(std::span<const uint32_t> classes);
  void compute();

  uint32_t workers_;
  std::vector<uint32_t> classes_;
  std::vector<uint32_t> bytes_;
  std::vector<uint32_t> borders_;
  uint64_t computed_ = 0;
};

}  // namespace skvis
