// SPDX-License-Identifier: Apache-2.0
// The growing answer of one request: what was sampled, what may be shown of it, and why it ended.
// Session and Scheduler step it, each in its own loop.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/generation.hpp"
#include "grammar/matcher.hpp"

namespace skvis {

class Answer {
 public:
  // All three outlive the answer. Shows the prompt where the request wants its echo, with
  // `prompt_logprobs` of its tokens from the second on, or none.
  Answer(const LoadedModel& model, const GenerationRequest& request,
         const GenerationCallbacks& callbacks, std::vector<TokenLogprobs> prompt_logprobs = {});

  // Samples the next token from logits [vocabulary]; nothing when the answer ends with it. Error:
  // the grammar is too ambiguous at this place.
  Result<std::optional<uint32_t>> next(std::span<const float> logits);
  size_t tokens() const { return tokens_.size(); }
  // The end: shows what was held back and hands over text, tokens and reason.
  void write_to(GenerationResult& result);

 private:
  Result<std::optional<uint32_t>> draw(std::span<const float> logits, bool may_end);
  void echo_prompt(std::vector<TokenLogprobs> logprobs);
  void show(const std::string& text);
  void deliver(std::vector<TextToken> tokens);

  const LoadedModel& model_;
  const GenerationRequest& request_;
  const GenerationCallbacks& callbacks_;
  Sampler sampler_;
  std::optional<GrammarMatcher> matcher_;
  TokenMask mask_;                          // where there is a grammar
  std::vector<uint32_t> ends_;              // tokens that end it
  std::optional<Detokenizer> detokenizer_;  // absent where only tokens are asked for
  StopMatcher stops_;
  std::string text_;  // that was shown
  std::vector<uint32_t> tokens_;
  TextTokens waiting_;  // where logprobs are asked for: tokens whose text was not shown yet
  std::vector<TextToken> text_tokens_;
  FinishReason finish_ = FinishReason::length;
};

}  // namespace skvis
