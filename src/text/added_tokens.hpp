// SPDX-License-Identifier: Apache-2.0
// Finds added tokens (special ones and others) in text.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/tokenizer_spec.hpp"
#include "text/regex.hpp"

namespace skvis {

// A part of a text: a token found in it, or what lies between two.
struct TextPart {
  TextRange range;
  std::optional<uint32_t> token;
};

// A set of added tokens in a trie. Where several begin at one place, the longest one that may stand
// there is taken; the search goes on behind it.
class AddedTokenFinder {
 public:
  // `content` is what to look for: token.content, or its normalized form.
  void add(const AddedToken& token, std::string_view content);

  bool empty() const { return tokens_.empty(); }

  // Cuts `text` (UTF-8) at its added tokens; special ones count when `parse_special`. White space
  // that an lstrip or rstrip token takes belongs to its part. No part without a token is empty.
  void split(std::string_view text, bool parse_special, std::vector<TextPart>& parts) const;

 private:
  struct Entry {
    uint32_t id;
    bool special, lstrip, rstrip, single_word;
  };
  struct Match {
    const Entry* entry;
    size_t end;
  };

  std::optional<Match> match_at(std::string_view text, size_t at, bool parse_special) const;

  static uint64_t edge(uint32_t node, char byte) {
    return uint64_t{node} << 8 | static_cast<uint8_t>(byte);
  }

  std::vector<Entry> tokens_;
  std::unordered_map<uint64_t, uint32_t> edges_;    // (node, byte) to node; 0 is the root
  std::unordered_map<uint32_t, uint32_t> accepts_;  // node to index in tokens_
  std::vector<bool> begins_ = std::vector<bool>(256);
  uint32_t nodes_ = 1;
};

}  // namespace skvis
