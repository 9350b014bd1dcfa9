// SPDX-License-Identifier: Apache-2.0
#include "text/added_tokens.hpp"

#include <unicode/uchar.h>

#include <algorithm>

#include "text/normalizer.hpp"
#include "text/utf8.hpp"

namespace skvis {
namespace {

bool is_word_character(uint32_t code_point) {
  const auto c = static_cast<UChar32>(code_point);
  return u_isUAlphabetic(c) != 0 || u_isdigit(c) != 0 ||
         (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_PC_MASK)) != 0;
}

bool word_before(std::string_view text, size_t at) {
  if (at == 0) return false;
  size_t begin = at - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xc0) == 0x80) --begin;
  return is_word_character(utf8_code_point(text.substr(begin)));
}

bool word_after(std::string_view text, size_t at) {
  return at < text.size() && is_word_character(utf8_code_point(text.substr(at)));
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token, std::string_view content) {
  if (content.empty()) return;
  uint32_t node = 0;
  for (const char byte : content) {
    const auto [it, fresh] = edges_.try_emplace(edge(node, byte), nodes_);
    if (fresh) ++nodes_;
    node = it->second;
  }
  if (!accepts_.try_emplace(node, static_cast<uint32_t>(tokens_.size())).second) return;
  begins_[static_cast<uint8_t>(content[0])] = true;
  tokens_.push_back({token.id, token.special, token.lstrip, token.rstrip, token.single_word});
}

std::optional<AddedTokenFinder::Match> AddedTokenFinder::match_at(std::string_view text, size_t at,
                                                                  bool parse_special) const {
  std::optional<Match> longest;
  uint32_t node = 0;
  for (size_t end = at; end < text.size();) {
    const auto next = edges_.find(edge(node, text[end]));
    if (next == edges_.end()) break;
    node = next->second;
    ++end;
    const auto accept = accepts_.find(node);
    if (accept == accepts_.end()) continue;
    const Entry& entry = tokens_[accept->second];
    if (entry.special && !parse_special) continue;
    if (entry.single_word && (word_before(text, at) || word_after(text, end))) continue;
    longest = Match{&entry, end};
  }
  return longest;
}

void AddedTokenFinder::split(std::string_view text, bool parse_special,
                             std::vector<TextPart>& parts) const {
  size_t done = 0;  // everything before it is in `parts`
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    const auto match = begins_[static_cast<uint8_t>(text[at])] ? match_at(text, at, parse_special)
                                                               : std::optional<Match>();
    if (!match) {
      ++at;
      continue;
    }
    TextRange range{at, match->end};
    if (match->entry->lstrip) {
      range.begin = done + strip_spaces(text.substr(done, at - done), false, true).size();
    }
    if (match->entry->rstrip) {
      range.end = text.size() - strip_spaces(text.substr(match->end), true, false).size();
    }
    if (done < range.begin) parts.push_back({{done, range.begin}, std::nullopt});
    parts.push_back({range, match->entry->id});
    done = at = range.end;
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, std::nullopt});
}

}  // namespace skvis
