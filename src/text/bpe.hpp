// SPDX-License-Identifier: Apache-2.0
// Pieces of text to token ids by merging neighbours: byte pair encoding by rank (Hugging Face) and
// by score (SentencePiece). Both keep a heap of possible merges and a linked list of symbols, so a
// piece of n characters costs n log n.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/tokenizer_spec.hpp"

namespace skvis {

// A map from two 32-bit numbers to an index, for many look-ups: open addressing, at most half full.
class PairTable {
 public:
  explicit PairTable(size_t expected = 0);
  // The last value given for a pair counts.
  void set(uint32_t a, uint32_t b, uint32_t value);
  std::optional<uint32_t> find(uint32_t a, uint32_t b) const {
    const uint64_t key = uint64_t{a} << 32 | b;
    for (size_t i = slot(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return slots_[i].value;
      if (slots_[i].key == kEmpty) return std::nullopt;
    }
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;  // ids and code points stay far below 2^32 - 1
  struct Slot {
    uint64_t key = kEmpty;
    uint32_t value = 0;
  };
  size_t slot(uint64_t key) const { return (key * 0x9e3779b97f4a7c15u) >> 20 & mask_; }
  void grow();

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t used_ = 0;
};

class BytePairEncoder {
 public:
  using Vocabulary = std::unordered_map<std::string_view, uint32_t>;

  // `spec` and `vocabulary` (the id of every token text) must outlive the encoder.
  BytePairEncoder(const TokenizerSpec& spec, const Vocabulary& vocabulary);

  static constexpr uint32_t kNone = UINT32_MAX;

  // What one call of encode() works with; reused from piece to piece.
  struct Workspace;

  // Appends the ids of `piece` (UTF-8, spelled as in the vocabulary).
  void encode(std::string_view piece, Workspace& work, std::vector<uint32_t>& ids) const;

 private:
  void read_symbols(std::string_view piece, Workspace& work) const;
  void add_unknown(std::string_view character, size_t offset, Workspace& work) const;
  void merge(std::string_view piece, size_t begin, size_t end, Workspace& work) const;
  void push_candidate(std::string_view piece, uint32_t left, uint32_t right, Workspace& work) const;
  uint32_t find_character(std::string_view character) const;
  uint32_t find_token(std::string_view text) const;
  void learn_neighbours(std::string_view token);
  static void push_symbol(Workspace& work, size_t offset, size_t bytes, uint32_t id,
                          bool character);
  void emit(std::string_view piece, const Workspace& work, std::vector<uint32_t>& ids) const;
  void emit_unknown(std::string_view text, std::vector<uint32_t>& ids) const;

  const TokenizerSpec& spec_;
  const Vocabulary& vocabulary_;
  PairTable merges_;                            // (left id, right id) to index in spec.merges
  PairTable neighbours_;                        // code points that stand side by side in some token
  std::vector<uint32_t> low_characters_;        // id per code point below its size, or kNone
  std::optional<std::vector<uint32_t>> bytes_;  // ids of "<0x00>" to "<0xFF>" if all exist
  size_t longest_token_ = 0;
};

struct BytePairEncoder::Workspace {
  struct Symbol {
    uint32_t offset;  // of its text in the piece
    uint32_t bytes;   // 0: merged into its left neighbour
    uint32_t id;      // kNone: text without a token
    uint32_t previous;
    uint32_t next;
    bool character;  // one character found in the vocabulary, so neighbours_ speaks for it
  };
  struct Candidate {
    float score;    // higher goes first; 0 for ranks
    uint32_t rank;  // lower goes first; 0 for scores
    uint32_t left;
    uint32_t right;
    uint32_t left_bytes;  // as they were when the candidate was made: else it is out of date
    uint32_t right_bytes;
    uint32_t result;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

}  // namespace skvis
