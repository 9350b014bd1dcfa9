// SPDX-License-Identifier: Apache-2.0
#include "engine/logprobs.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace skvis {
namespace {

bool better(const ScoredToken& a, const ScoredToken& b) {
  return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
}

// The `count` highest logits, best first; their values are still logits. Allocates nothing where
// `best` has room for them.
void take_highest(std::span<const float> logits, size_t count, std::vector<ScoredToken>& best) {
  best.clear();  // from here a heap whose front is the worst of them
  for (uint32_t token = 0; token < logits.size() && count > 0; ++token) {
    const ScoredToken candidate{.token = token, .logprob = logits[token]};
    if (best.size() == count) {
      if (!better(candidate, best.front())) continue;
      std::pop_heap(best.begin(), best.end(), better);
      best.pop_back();
    }
    best.push_back(candidate);
    std::push_heap(best.begin(), best.end(), better);
  }
  std::sort_heap(best.begin(), best.end(), better);
}

void score(std::span<const float> logits, uint32_t token, uint32_t best, TokenLogprobs& out) {
  const float most = *std::max_element(logits.begin(), logits.end());
  const float own = logits[token];
  double sum = 0;
  out.token = token;
  out.rank = 1;
  for (const float logit : logits) {
    sum += std::exp(logit - most);
    out.rank += logit > own ? 1 : 0;
  }
  const double log_sum = most + std::log(sum);
  // One rounding for all, so that the token's value and its twin in `best` are the same number.
  const auto logprob = [&](float logit) { return static_cast<float>(logit - log_sum); };
  out.logprob = logprob(own);
  take_highest(logits, best, out.best);
  for (ScoredToken& other : out.best) other.logprob = logprob(other.logprob);
}

}  // namespace

TokenLogprobs logprobs_of(std::span<const float> logits, uint32_t token, uint32_t best) {
  TokenLogprobs scored;
  score(logits, token, best, scored);
  return scored;
}

void score_prompt(std::span<const uint32_t> prompt, size_t first, std::span<const float> logits,
                  size_t vocabulary, uint32_t best, ThreadPool& threads,
                  std::vector<TokenLogprobs>& out) {
  const size_t rows = std::min(logits.size() / vocabulary, prompt.size() - first - 1);
  const size_t before = out.size();
  out.resize(before + rows);
  // Threads may not run out of memory.
  for (size_t row = 0; row < rows; ++row) out[before + row].best.reserve(best);
  threads.run(rows, [&](size_t row, size_t) {
    score(logits.subspan(row * vocabulary, vocabulary), prompt[first + row + 1], best,
          out[before + row]);
  });
}

void TextTokens::add(TextToken token, std::string_view text) {
  token.begin = bytes_;
  token.characters = characters_;
  bytes_ += text.size();
  for (const char c : text) characters_ += (static_cast<uint8_t>(c) & 0xc0) != 0x80 ? 1 : 0;
  token.end = bytes_;
  waiting_.push_back(std::move(token));
}

std::vector<TextToken> TextTokens::take(size_t shown) {
  size_t count = 0;
  for (size_t i = 0; i < waiting_.size() && waiting_[i].end <= shown; ++i) {
    if (waiting_[i].end > waiting_[i].begin) count = i + 1;
  }
  return take_first(count);
}

std::vector<TextToken> TextTokens::take_rest(size_t shown, bool cut) {
  size_t count = waiting_.size();
  while (cut && count > 0 && waiting_[count - 1].begin >= shown) --count;
  return take_first(count);
}

std::vector<TextToken> TextTokens::take_first(size_t count) {
  const auto end = waiting_.begin() + static_cast<ptrdiff_t>(count);
  std::vector<TextToken> taken(std::make_move_iterator(waiting_.begin()),
                               std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  return taken;
}

void TextTokenQueue::push(std::vector<TextToken> tokens) {
  const std::lock_guard lock(mutex_);
  for (TextToken& token : tokens) tokens_.push_back(std::move(token));
}

std::vector<TextToken> TextTokenQueue::take(size_t bytes) {
  const std::lock_guard lock(mutex_);
  written_ += bytes;
  std::vector<TextToken> taken;
  for (; !tokens_.empty() && tokens_.front().end <= written_; tokens_.pop_front()) {
    taken.push_back(std::move(tokens_.front()));
  }
  return taken;
}

std::vector<TextToken> TextTokenQueue::take_rest() {
  const std::lock_guard lock(mutex_);
  std::vector<TextToken> taken(std::make_move_iterator(tokens_.begin()),
                               std::make_move_iterator(tokens_.end()));
  tokens_.clear();
  return taken;
}

}  // namespace skvis
