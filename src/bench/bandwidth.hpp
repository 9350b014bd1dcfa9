// SPDX-License-Identifier: Apache-2.0
// How fast this machine reads memory, as the bar that every other figure is held against: the same
// threads, the widest loads, the better of plain and prefetched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "base/thread_pool.hpp"

namespace skvis {

class ReadBandwidth {
 public:
  // Reads a buffer of `bytes`, larger than every cache.
  explicit ReadBandwidth(size_t bytes);
  // One pass over the buffer; bytes per second.
  double measure(ThreadPool& threads);
  size_t bytes() const { return buffer_.bytes(); }

 private:
  double pass(ThreadPool& threads, bool prefetch);
  AlignedBuffer<std::byte> buffer_;
};

// Reads `bytes` from a cache line on, a whole number of them, with the widest loads and
// prefetching.
uint64_t read_bytes(const std::byte* data, size_t bytes);

double median(std::vector<double> values);

}  // namespace skvis
