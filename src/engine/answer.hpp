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

namespace skvis {

class Answer {
 public:
  // All three outlive the answer.
  Answer(const LoadedModel& model, const GenerationRequest& request,
         const GenerationCallbacks& callbacks);

  // Samples the next token from logits [vocabulary]; nothing when the answer ends with it.
  std::optional<uint32_t> next(std::span<const float> logits);
  size_t tokens() const { return tokens_.size(); }
  // The end: shows what was held back and hands over text, tokens and reason.
  void write_to(GenerationResult& result);

 private:
  void show(const std::string& text);

  const LoadedModel& model_;
  const GenerationRequest& request_;
  const GenerationCallbacks& callbacks_;
  Sampler sampler_;
  std::optional<Detokenizer> detokenizer_;  // absent where only tokens are asked for
  StopMatcher stops_;
  std::string text_;
  std::vector<uint32_t> tokens_;
  FinishReason finish_ = FinishReason::length;
};

}  // namespace skvis
