// SPDX-License-Identifier: Apache-2.0
// A set of token ids, one bit each.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace skvis {

class TokenMask {
 public:
  TokenMask() = default;
  // Of ids 0 to `size` - 1, none allowed.
  explicit TokenMask(size_t size) : size_(size), words_((size + 63) / 64) {}

  size_t size() const { return size_; }
  bool allows(uint32_t token) const {
    return token < size_ && (words_[token / 64] >> token % 64 & 1) != 0;
  }
  // `token` must be below size().
  void allow(uint32_t token) { words_[token / 64] |= uint64_t{1} << token % 64; }
  void clear() { words_.assign(words_.size(), 0); }
  size_t count() const {
    size_t count = 0;
    for (const uint64_t word : words_) count += static_cast<size_t>(std::popcount(word));
    return count;
  }
  // Bit i of word w is token 64 w + i; bits from size() on are 0.
  std::span<const uint64_t> words() const { return words_; }
  std::span<uint64_t> words() { return words_; }
  bool operator==(const TokenMask&) const = default;

 private:
  size_t size_ = 0;
  std::vector<uint64_t> words_;
};

}  // namespace skvis
