// SPDX-License-Identifier: Apache-2.0
// The tokens of a model as bytes, in the order in which masks are made: a trie, written out depth
// first, so that a walk is one pass that skips what cannot match. Immutable; made once per model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace skvis {

class TokenVocabulary {
 public:
  // `tokens[id]`: what the token adds to a text; empty for control tokens and unused ids, which no
  // grammar ever allows. `end_tokens` end a text: allowed where it may end, whatever their bytes.
  // Errors: an end token outside the vocabulary, a token of more than kMaxTokenBytes.
  static Result<std::shared_ptr<const TokenVocabulary>> create(std::vector<std::string> tokens,
                                                               std::vector<uint32_t> end_tokens);

  static constexpr size_t kMaxTokenBytes = 4096;

  size_t size() const { return tokens_.size(); }  // highest id + 1
  std::string_view bytes(uint32_t id) const { return tokens_[id]; }
  const std::vector<uint32_t>& end_tokens() const { return end_tokens_; }
  bool is_end_token(uint32_t id) const;
  uint32_t longest() const { return longest_; }  // bytes

  // The trie. A node is the bytes on the way to it; its subtree is the nodes up to `skip`.
  struct Node {
    uint32_t skip;         // index of the first node behind the subtree
    uint32_t first_token;  // in sorted(): tokens of the subtree from here to the next node's...
    uint16_t depth;        // bytes, from 1
    uint16_t plain_below;  // bytes of the longest way down, or kNotPlain
    uint8_t byte;
  };
  // Some byte below is not plain.
  static constexpr uint16_t kNotPlain = UINT16_MAX;
  // Bytes of which most of a vocabulary is made and among which few grammars distinguish: printable
  // ASCII without quotes and backslash.
  static bool is_plain(uint8_t byte) {
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
  }
  std::span<const Node> nodes() const { return nodes_; }
  // Tokens whose bytes are those of node `index`, and of its whole subtree.
  std::span<const uint32_t> tokens_at(size_t index) const { return range(index, index + 1); }
  std::span<const uint32_t> tokens_below(size_t index) const {
    return range(index, nodes_[index].skip);
  }

 private:
  TokenVocabulary() = default;
  void measure_plain();
  std::span<const uint32_t> range(size_t from, size_t to) const {
    const size_t end = to < nodes_.size() ? nodes_[to].first_token : sorted_.size();
    return std::span<const uint32_t>(sorted_).subspan(nodes_[from].first_token,
                                                      end - nodes_[from].first_token);
  }

  std::vector<std::string> tokens_;  // [size], empty for end tokens too
  std::vector<uint32_t> end_tokens_;
  std::vector<uint32_t> sorted_;  // ids of tokens with bytes, by their bytes
  std::vector<Node> nodes_;
  uint32_t longest_ = 0;
};

}  // namespace skvis
