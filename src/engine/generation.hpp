// SPDX-License-Identifier: Apache-2.0
// From a prompt to an answer: one conversation's cache, sampling, stop texts, figures.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/engine.hpp"
#include "engine/logprobs.hpp"
#include "engine/sampler.hpp"
#include "grammar/token_automaton.hpp"
#include "text/detokenizer.hpp"

namespace skvis {

// deadline: the request's time was over; what there was of the answer is there.
enum class FinishReason : uint8_t { stop, length, cancelled, deadline };

struct GenerationRequest {
  std::vector<uint32_t> prompt;  // all tokens of the conversation
  uint32_t max_tokens = 1024;
  SamplingOptions sampling;
  std::shared_ptr<const TokenRules> rules;  // null: none
  std::shared_ptr<TokenAutomaton> grammar;  // the answer is one of its texts; null: any
  std::vector<std::string> stop;            // texts that end the answer
  bool show_stop = false;                   // the text that ended it is part of the answer
  std::vector<uint32_t> stop_tokens;        // end the answer as the model's end tokens do
  uint32_t min_tokens = 0;                  // nothing ends an answer of fewer
  bool ignore_end = false;                  // go on after the model's end tokens
  bool tokens_only = false;                 // no text, and so no tokenizer is needed
  bool echo = false;                        // the answer's text begins with the prompt's
  std::optional<uint32_t> logprobs;         // of the answer's tokens, beside so many best ones
  // Of the prompt's. Every row of it must be read then: no kept conversation is gone on from.
  std::optional<uint32_t> prompt_logprobs;
  std::shared_ptr<TextTokenQueue> queue;  // where the tokens of a stream go; else to the result
  bool repeats_prompt = false;            // a further answer to a prompt that has been counted
};

struct GenerationCallbacks {
  // A piece of the answer. Pieces never split a character or reveal part of a stop text.
  std::function<void(std::string_view text)> on_text;
  // While the prompt is read: tokens done, of how many.
  std::function<void(size_t done, size_t total)> on_prompt;
  // After every token of the answer.
  std::function<void()> on_token;
  // Asked before every step; false cancels.
  std::function<bool()> go_on;
};

struct GenerationResult {
  FinishReason finish = FinishReason::stop;
  std::string text;
  std::vector<uint32_t> tokens;                // generated, the end token not included
  bool scored = false;                         // logprobs were asked for
  std::vector<TextToken> text_tokens;          // of `text`, with logprobs, unless a queue took them
  std::vector<TokenLogprobs> prompt_logprobs;  // of all tokens but the first; not under echo
  bool repeats_prompt = false;
  uint32_t prompt_tokens = 0;
  uint32_t reused_tokens = 0;  // of the prompt, already in the cache
  double prompt_seconds = 0;
  double decode_seconds = 0;
  SequenceBytes kv_bytes;    // held at the end
  size_t kv_bytes_full = 0;  // what the full cache would hold
  size_t rows_held = 0;      // over all heads
  size_t rows_seen = 0;
};

// Errors: prompt empty or longer than the context, ids outside the vocabulary, no tokenizer,
// log-probabilities of a prompt whose rows do not all reach the last layer under this plan.
Result<void> check_request(const Engine& engine, const GenerationRequest& request);
// Tokens of prompt and answer together, at most the context. The request has passed its check.
uint32_t most_tokens_of(const Engine& engine, const GenerationRequest& request);
// Notes what a sequence holds, at the end of its answer.
void note_memory(const Engine& engine, const SequenceCache& sequence, GenerationResult& result);

// One conversation by itself. Its cache stays between turns: a prompt that begins with what the
// cache has read only reads the rest.
class Session {
 public:
  explicit Session(Engine& engine) : engine_(&engine) {}

  // Reserves for prompt + max_tokens, never more than the context, unless a reservation of an
  // earlier turn is large enough. Errors: prompt empty or longer than the context, or too large for
  // the KV memory; ids outside the vocabulary; log-probabilities of the prompt, which the scheduler
  // computes. The session is usable afterwards.
  Result<GenerationResult> generate(const GenerationRequest& request,
                                    const GenerationCallbacks& callbacks = {});
  // Reserve at least this many tokens at the first turn, so that later turns continue.
  void reserve_tokens(uint32_t tokens) { reserve_ = tokens; }
  void clear();

 private:
  Result<uint32_t> prepare(const GenerationRequest& request, uint32_t limit);
  Result<void> run_turn(const GenerationRequest& request, const GenerationCallbacks& callbacks,
                        uint32_t limit, GenerationResult& result);

  Engine* engine_;
  std::optional<SequenceCache> sequence_;
  std::vector<uint32_t> tokens_;  // that the cache has read
  uint32_t capacity_ = 0;         // tokens reserved
  uint32_t reserve_ = 0;
};

// Finds stop texts in a stream and holds back what might become one.
class StopMatcher {
 public:
  // `show`: the stop text that was found is shown too.
  explicit StopMatcher(std::vector<std::string> stops, bool show = false)
      : stops_(std::move(stops)), show_(show) {}
  // Text that may be shown now. After a stop text was found, stopped() is true and nothing more
  // comes.
  std::string push(std::string_view text);
  std::string flush();  // the end of the answer: what was held back
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  bool show_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace skvis
