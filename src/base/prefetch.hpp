// SPDX-License-Identifier: Apache-2.0
// Fetching memory ahead of its use.
#pragma once

#include <cstddef>

#include "base/aligned.hpp"

namespace skvis {

// Asks for a line in the second-level cache: the first is too small for what lies two pages ahead.
// Always inlined, like what follows: GCC takes a function that only prefetches for one without
// effect and drops calls of it.
[[gnu::always_inline]] inline void prefetch_line(const void* at) {
  __builtin_prefetch(at, 0, 2);
}

// Asks for bytes [begin, end) of `data`.
[[gnu::always_inline]] inline void prefetch_range(const std::byte* data, size_t begin, size_t end) {
  for (size_t at = begin; at < end; at += kCacheLine) prefetch_line(data + at);
}

}  // namespace skvis
