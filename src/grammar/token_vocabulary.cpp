// SPDX-License-Identifier: Apache-2.0
#include "grammar/token_vocabulary.hpp"

#include <algorithm>

namespace skvis {

Result<std::shared_ptr<const TokenVocabulary>> TokenVocabulary::create(
    std::vector<std::string> tokens, std::vector<uint32_t> end_tokens) {
  std::shared_ptr<TokenVocabulary> made(new TokenVocabulary);
  std::sort(end_tokens.begin(), end_tokens.end());
  end_tokens.erase(std::unique(end_tokens.begin(), end_tokens.end()), end_tokens.end());
  for (const uint32_t id : end_tokens) {
    if (id >= tokens.size()) {
      return fail("end token {} is outside the vocabulary of {} tokens", id, tokens.size());
    }
    tokens[id].clear();
  }
  made->tokens_ = std::move(tokens);
  made->end_tokens_ = std::move(end_tokens);
  std::vector<uint32_t>& sorted = made->sorted_;
  for (uint32_t id = 0; id < made->tokens_.size(); ++id) {
    const size_t length = made->tokens_[id].size();
    if (length > kMaxTokenBytes) {
      return fail("token {} has {} bytes, at most {} can be handled", id, length, kMaxTokenBytes);
    }
    made->longest_ = std::max(made->longest_, static_cast<uint32_t>(length));
    if (length > 0) sorted.push_back(id);
  }
  const auto& bytes = made->tokens_;
  std::sort(sorted.begin(), sorted.end(), [&](uint32_t a, uint32_t b) {
    return bytes[a] != bytes[b] ? bytes[a] < bytes[b] : a < b;
  });
  std::vector<uint32_t> path;  // nodes on the way to the last token
  std::string_view last;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const std::string_view token = bytes[sorted[i]];
    const auto common = static_cast<size_t>(
        std::mismatch(last.begin(), last.end(), token.begin(), token.end()).first - last.begin());
    for (; path.size() > common; path.pop_back()) {
      made->nodes_[path.back()].skip = static_cast<uint32_t>(made->nodes_.size());
    }
    for (size_t depth = common; depth < token.size(); ++depth) {
      path.push_back(static_cast<uint32_t>(made->nodes_.size()));
      made->nodes_.push_back({.skip = 0,
                              .first_token = static_cast<uint32_t>(i),
                              .depth = static_cast<uint16_t>(depth + 1),
                              .plain_below = 0,
                              .byte = static_cast<uint8_t>(token[depth])});
    }
    last = token;
  }
  for (const uint32_t node : path) {
    made->nodes_[node].skip = static_cast<uint32_t>(made->nodes_.size());
  }
  made->measure_plain();
  return std::shared_ptr<const TokenVocabulary>(std::move(made));
}

void TokenVocabulary::measure_plain() {
  std::vector<uint32_t> path;  // a node's parent is the last one above its depth
  std::vector<uint32_t> parents(nodes_.size(), UINT32_MAX);
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    path.resize(nodes_[i].depth - size_t{1});
    if (!path.empty()) parents[i] = path.back();
    path.push_back(i);
  }
  for (size_t i = nodes_.size(); i-- > 0;) {  // children come behind their parents
    if (parents[i] == UINT32_MAX) continue;
    uint16_t& above = nodes_[parents[i]].plain_below;
    const uint16_t below = nodes_[i].plain_below;
    if (!is_plain(nodes_[i].byte) || below == kNotPlain) {
      above = kNotPlain;
    } else if (above != kNotPlain) {
      above = std::max<uint16_t>(above, below + 1);
    }
  }
}

bool TokenVocabulary::is_end_token(uint32_t id) const {
  return std::binary_search(end_tokens_.begin(), end_tokens_.end(), id);
}

}  // namespace skvis
