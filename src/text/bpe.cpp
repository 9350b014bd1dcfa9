// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.hpp"

namespace skvis {
namespace {

// Characters whose ids are kept in a plain table: all letters of the alphabet of bytes are among
// them.
constexpr uint32_t kLowCharacters = 0x400;
// Below this a piece is merged whole; above it is first cut where no token could reach across.
constexpr size_t kShortPiece = 8;

using Candidate = BytePairEncoder::Workspace::Candidate;

// For std::push_heap: true when `a` goes after `b`. Ties go to the left.
bool goes_after(const Candidate& a, const Candidate& b) {
  if (a.rank != b.rank) return a.rank > b.rank;
  if (a.score != b.score) return a.score < b.score;
  return a.left > b.left;
}

std::string byte_token(uint32_t byte) {
  return fmt::format("<0x{:02X}>", byte);
}

}  // namespace

PairTable::PairTable(size_t expected) {
  size_t size = 16;
  while (size < expected * 2) size *= 2;
  slots_.resize(size);
  mask_ = size - 1;
}

void PairTable::set(uint32_t a, uint32_t b, uint32_t value) {
  const uint64_t key = uint64_t{a} << 32 | b;
  size_t i = slot(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask_;
  if (slots_[i].key == kEmpty) ++used_;
  slots_[i] = {key, value};
  if (used_ * 2 > slots_.size()) grow();
}

void PairTable::grow() {
  PairTable larger(slots_.size());
  for (const Slot& slot : slots_) {
    if (slot.key == kEmpty) continue;
    larger.set(static_cast<uint32_t>(slot.key >> 32), static_cast<uint32_t>(slot.key), slot.value);
  }
  *this = std::move(larger);
}

BytePairEncoder::BytePairEncoder(const TokenizerSpec& spec, const Vocabulary& vocabulary)
    : spec_(spec), vocabulary_(vocabulary), merges_(spec.merges.size()) {
  for (size_t i = 0; i < spec.merges.size(); ++i) {
    merges_.set(spec.merges[i].left, spec.merges[i].right, static_cast<uint32_t>(i));
    learn_neighbours(spec.tokens[spec.merges[i].result]);
  }
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (!spec.mergeable[id]) continue;
    longest_token_ = std::max(longest_token_, spec.tokens[id].size());
    if (spec.model == MergeModel::kScores) learn_neighbours(spec.tokens[id]);
  }
  low_characters_.resize(kLowCharacters);
  for (uint32_t c = 0; c < kLowCharacters; ++c) {
    std::string character;
    append_utf8(c, character);
    low_characters_[c] = find_token(character);
  }
  if (!spec.byte_fallback) return;
  std::vector<uint32_t> bytes;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const auto it = vocabulary.find(byte_token(byte));
    if (it == vocabulary.end()) return;
    bytes.push_back(it->second);
  }
  bytes_ = std::move(bytes);
}

void BytePairEncoder::learn_neighbours(std::string_view token) {
  uint32_t before = 0;
  for (size_t i = 0; i < token.size(); i += utf8_length(token[i])) {
    const uint32_t here = utf8_code_point(token.substr(i));
    if (i > 0) neighbours_.set(before, here, 1);
    before = here;
  }
}

uint32_t BytePairEncoder::find_token(std::string_view text) const {
  const auto it = vocabulary_.find(text);
  return it != vocabulary_.end() && spec_.mergeable[it->second] ? it->second : kNone;
}

uint32_t BytePairEncoder::find_character(std::string_view character) const {
  if (character.size() <= 2) {
    const uint32_t code_point = utf8_code_point(character);
    if (code_point < kLowCharacters) return low_characters_[code_point];
  }
  return find_token(character);
}

void BytePairEncoder::encode(std::string_view piece, Workspace& work,
                             std::vector<uint32_t>& ids) const {
  if (piece.empty()) return;
  if (spec_.ignore_merges) {
    if (const uint32_t id = find_token(piece); id != kNone) {
      ids.push_back(id);
      return;
    }
  }
  read_symbols(piece, work);
  const auto& symbols = work.symbols;
  size_t begin = 0;
  for (size_t i = 1; i < symbols.size() && symbols.size() > kShortPiece; ++i) {
    if (!symbols[i - 1].character || !symbols[i].character) continue;
    const uint32_t left = utf8_code_point(piece.substr(symbols[i - 1].offset));
    const uint32_t right = utf8_code_point(piece.substr(symbols[i].offset));
    if (neighbours_.find(left, right)) continue;
    merge(piece, begin, i, work);
    begin = i;
  }
  merge(piece, begin, symbols.size(), work);
  emit(piece, work, ids);
}

void BytePairEncoder::push_symbol(Workspace& work, size_t offset, size_t bytes, uint32_t id,
                                  bool character) {
  work.symbols.push_back(
      {static_cast<uint32_t>(offset), static_cast<uint32_t>(bytes), id, kNone, kNone, character});
}

void BytePairEncoder::read_symbols(std::string_view piece, Workspace& work) const {
  work.symbols.clear();
  for (size_t i = 0; i < piece.size();) {
    const std::string_view character = piece.substr(i, utf8_length(piece[i]));
    const uint32_t id = find_character(character);
    if (id != kNone || spec_.model == MergeModel::kScores) {
      push_symbol(work, i, character.size(), id, true);
    } else {
      add_unknown(character, i, work);
    }
    i += character.size();
  }
}

// Ranks only: ids must be known before merging, since merges are of ids.
void BytePairEncoder::add_unknown(std::string_view character, size_t offset,
                                  Workspace& work) const {
  if (bytes_) {
    for (size_t i = 0; i < character.size(); ++i) {
      push_symbol(work, offset + i, 1, (*bytes_)[static_cast<uint8_t>(character[i])], false);
    }
    return;
  }
  if (!spec_.unk) return;
  if (spec_.fuse_unk && !work.symbols.empty()) {
    auto& last = work.symbols.back();
    if (!last.character && last.offset + last.bytes == offset) {
      last.bytes += static_cast<uint32_t>(character.size());
      return;
    }
  }
  push_symbol(work, offset, character.size(), *spec_.unk, false);
}

void BytePairEncoder::push_candidate(std::string_view piece, uint32_t left, uint32_t right,
                                     Workspace& work) const {
  const auto& a = work.symbols[left];
  const auto& b = work.symbols[right];
  Candidate candidate{0, 0, left, right, a.bytes, b.bytes, 0};
  if (spec_.model == MergeModel::kRanks) {
    const auto merge = merges_.find(a.id, b.id);
    if (!merge) return;
    candidate.rank = *merge;
    candidate.result = spec_.merges[*merge].result;
  } else {
    if (size_t{a.bytes} + b.bytes > longest_token_) return;
    candidate.result = find_token(piece.substr(a.offset, a.bytes + b.bytes));
    if (candidate.result == kNone) return;
    candidate.score = spec_.scores[candidate.result];
  }
  work.heap.push_back(candidate);
  std::push_heap(work.heap.begin(), work.heap.end(), goes_after);
}

void BytePairEncoder::merge(std::string_view piece, size_t begin, size_t end,
                            Workspace& work) const {
  auto& symbols = work.symbols;
  work.heap.clear();
  for (size_t i = begin; i < end; ++i) {
    symbols[i].previous = i == begin ? kNone : static_cast<uint32_t>(i - 1);
    symbols[i].next = i + 1 == end ? kNone : static_cast<uint32_t>(i + 1);
    if (i > begin) {
      push_candidate(piece, static_cast<uint32_t>(i - 1), static_cast<uint32_t>(i), work);
    }
  }
  while (!work.heap.empty()) {
    std::pop_heap(work.heap.begin(), work.heap.end(), goes_after);
    const Candidate best = work.heap.back();
    work.heap.pop_back();
    auto& left = symbols[best.left];
    auto& right = symbols[best.right];
    if (left.bytes != best.left_bytes || right.bytes != best.right_bytes) continue;
    left.id = best.result;
    left.bytes += right.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next != kNone) {
      symbols[left.next].previous = best.left;
      push_candidate(piece, best.left, left.next, work);
    }
    if (left.previous != kNone) push_candidate(piece, left.previous, best.left, work);
  }
}

void BytePairEncoder::emit_unknown(std::string_view text, std::vector<uint32_t>& ids) const {
  if (bytes_) {
    for (const char byte : text) ids.push_back((*bytes_)[static_cast<uint8_t>(byte)]);
  } else if (spec_.unk) {
    if (!spec_.fuse_unk || ids.empty() || ids.back() != *spec_.unk) ids.push_back(*spec_.unk);
  }
}

void BytePairEncoder::emit(std::string_view piece, const Workspace& work,
                           std::vector<uint32_t>& ids) const {
  for (const auto& symbol : work.symbols) {
    if (symbol.bytes == 0) continue;
    if (symbol.id != kNone) {
      ids.push_back(symbol.id);
    } else {
      emit_unknown(piece.substr(symbol.offset, symbol.bytes), ids);
    }
  }
}

}  // namespace skvis
