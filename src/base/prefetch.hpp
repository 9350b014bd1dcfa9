// SPDX-License-Identifier: Apache-2.0
// Fetching memory ahead of its use.
#pragma once

#include <cstddef>

#include "base/aligned.hpp"

namespace skvis {

// Asks for bytes [begin, end) of `data` in the second-level cache. Always inlined: GCC takes a
// function that only prefetches for one without effect and drops calls of it.
[[gnu::always_inline]] inline void prefetch_range(const std::byte* data, size_t begin, size_t end) {
  for (size_t at = begin; at < end; at += kCacheLine) __builtin_prefetch(data + at, 0, 2);
}

}  // namespace skvis
