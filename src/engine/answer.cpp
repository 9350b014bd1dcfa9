// SPDX-License-Identifier: Apache-2.0
#include "engine/answer.hpp"

#include <algorithm>

namespace skvis {

Answer::Answer(const LoadedModel& model, const GenerationRequest& request,
               const GenerationCallbacks& callbacks)
    : model_(model),
      request_(request),
      callbacks_(callbacks),
      sampler_(request.sampling),
      stops_(request.stop) {
  if (!request.tokens_only) {
    detokenizer_.emplace(*model.tokenizer, DecodeOptions{.skip_special = true, .continues = true});
  }
}

std::optional<uint32_t> Answer::next(std::span<const float> logits) {
  const uint32_t token = sampler_.sample(logits);
  const auto& ends = model_.end_ids;
  if (!request_.ignore_end && std::find(ends.begin(), ends.end(), token) != ends.end()) {
    finish_ = FinishReason::stop;
    return std::nullopt;
  }
  tokens_.push_back(token);
  if (callbacks_.on_token) callbacks_.on_token();
  if (detokenizer_) show(stops_.push(detokenizer_->push(token)));
  if (!stops_.stopped()) return token;
  finish_ = FinishReason::stop;
  return std::nullopt;
}

void Answer::write_to(GenerationResult& result) {
  if (detokenizer_) show(stops_.push(detokenizer_->flush()));
  show(stops_.flush());
  result.finish = finish_;
  result.text = std::move(text_);
  result.tokens = std::move(tokens_);
}

void Answer::show(const std::string& text) {
  text_ += text;
  if (!text.empty() && callbacks_.on_text) callbacks_.on_text(text);
}

}  // namespace skvis
