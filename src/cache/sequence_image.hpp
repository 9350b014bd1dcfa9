// SPDX-License-Identifier: Apache-2.0
// A sequence as bytes that stand by themselves: written out when its memory is needed for others,
// and read back, bit by bit the same, into a new reservation. Pages are copied as they lie: they
// hold numbers and no pointers.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "cache/sequence_cache.hpp"

namespace skvis {

class SequenceImage {
 public:
  // Only between steps, of a sequence that is not broken. The sequence is as before.
  static std::vector<std::byte> write(const SequenceCache& sequence);
  // The reservation becomes the sequence's own, and is released on errors: an image that is
  // damaged, of another plan, or whose masks and positions cannot be; a pool without room, which
  // never happens within a reservation of the size that was written. Codes within pages are taken
  // as they are.
  static Result<SequenceCache> read(std::span<const std::byte> image, const CacheLayout& layout,
                                    Pool& pool, ReservationId reservation);

 private:
  class Reading;
};

}  // namespace skvis
