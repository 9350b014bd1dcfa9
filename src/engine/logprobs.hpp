// SPDX-License-Identifier: Apache-2.0
// What the model's distribution says of the tokens of a text. Log-probabilities are natural and
// come from the logits as the model gives them: before temperature, penalties, biases and masks.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "base/thread_pool.hpp"

namespace skvis {

struct ScoredToken {
  uint32_t token = 0;
  float logprob = 0;
};

struct TokenLogprobs {
  uint32_t token = 0;
  float logprob = 0;
  uint32_t rank = 1;              // 1: no token is more probable
  std::vector<ScoredToken> best;  // as many as were asked for, best first; of equal ones lower ids
};

// logits [vocabulary] of the row before the token, which is in the vocabulary.
TokenLogprobs logprobs_of(std::span<const float> logits, uint32_t token, uint32_t best);

// Scores the tokens that follow rows [first, first + rows) of a prompt, from logits [rows,
// vocabulary], and appends them to `out`. The prompt's last row has no token after it.
void score_prompt(std::span<const uint32_t> prompt, size_t first, std::span<const float> logits,
                  size_t vocabulary, uint32_t best, ThreadPool& threads,
                  std::vector<TokenLogprobs>& out);

// A token and the part of the answer's text that it completed, in bytes from the text's beginning.
// Both are equal where it completed nothing: a part of a character, a special token.
struct TextToken {
  TokenLogprobs logprobs;
  size_t begin = 0;
  size_t end = 0;
  size_t characters = 0;  // code points before `begin`
  bool scored = true;     // false for the first token of a prompt
  bool ends = false;      // it ended the answer and is no part of its text
};

// Keeps the tokens of an answer until their text has been shown: stop texts hold text back, and may
// cut it off.
class TextTokens {
 public:
  // `text`: what the token completed.
  void add(TextToken token, std::string_view text);
  // Takes those whose text lies within the first `shown` bytes. Tokens without text wait for the
  // text after them.
  std::vector<TextToken> take(size_t shown);
  // The end of the answer: what is left, or, where the text was cut at `shown`, those that begin
  // before.
  std::vector<TextToken> take_rest(size_t shown, bool cut);

 private:
  std::vector<TextToken> take_first(size_t count);

  std::deque<TextToken> waiting_;
  size_t bytes_ = 0;
  size_t characters_ = 0;
};

// From the thread that generates to the one that writes a stream.
class TextTokenQueue {
 public:
  void push(std::vector<TextToken> tokens);
  // The next `bytes` of text are written: the tokens that belong to them.
  std::vector<TextToken> take(size_t bytes);
  std::vector<TextToken> take_rest();

 private:
  std::mutex mutex_;
  std::deque<TextToken> tokens_;
  size_t written_ = 0;
};

}  // namespace skvis
