// SPDX-License-Identifier: Apache-2.0
#include "engine/answer.hpp"

#include <algorithm>
#include <iterator>

namespace skvis {

Answer::Answer(const LoadedModel& model, const GenerationRequest& request,
               const GenerationCallbacks& callbacks, std::vector<TokenLogprobs> prompt_logprobs)
    : model_(model),
      request_(request),
      callbacks_(callbacks),
      sampler_(request.sampling, request.rules, request.prompt),
      ends_(request.stop_tokens),
      stops_(request.stop, request.show_stop) {
  if (request.grammar) {
    matcher_.emplace(request.grammar);
    mask_ = TokenMask(request.grammar->vocabulary().size());
  }
  // A text of a grammar has an end, whatever the request says of the model's.
  const bool ends = !request.ignore_end || request.grammar != nullptr;
  if (ends) ends_.insert(ends_.end(), model.end_ids.begin(), model.end_ids.end());
  if (request.tokens_only) return;
  // An echo begins a text, and the answer goes on in it.
  detokenizer_.emplace(*model.tokenizer,
                       DecodeOptions{.skip_special = true, .continues = !request.echo});
  if (request.echo) echo_prompt(std::move(prompt_logprobs));
}

void Answer::echo_prompt(std::vector<TokenLogprobs> logprobs) {
  std::string text;
  for (size_t i = 0; i < request_.prompt.size(); ++i) {
    const uint32_t token = request_.prompt[i];
    const std::string piece = detokenizer_->push(token);
    text += piece;
    if (!request_.logprobs) continue;
    const bool scored = i > 0 && i <= logprobs.size();
    TextToken entry{.logprobs = scored ? std::move(logprobs[i - 1]) : TokenLogprobs{.token = token},
                    .scored = scored};
    waiting_.add(std::move(entry), piece);
  }
  show(text);
}

Result<std::optional<uint32_t>> Answer::draw(std::span<const float> logits, bool may_end) {
  DrawLimits limits;
  if (!may_end) limits.forbidden = ends_;
  if (!matcher_) return sampler_.sample(logits, limits);
  SKVIS_CHECK(matcher_->fill_mask(mask_));
  limits.allowed = mask_.words();
  const std::optional<uint32_t> token = sampler_.sample(logits, limits);
  if (token) SKVIS_CHECK(matcher_->accept(*token));
  return token;
}

Result<std::optional<uint32_t>> Answer::next(std::span<const float> logits) {
  const bool may_end = tokens_.size() >= request_.min_tokens;
  SKVIS_TRY(const std::optional<uint32_t> token, draw(logits, may_end));
  if (!token) {  // limits left nothing to say
    finish_ = FinishReason::stop;
    return std::optional<uint32_t>();
  }
  const bool ends = std::find(ends_.begin(), ends_.end(), *token) != ends_.end();
  std::string text;
  if (!ends) {
    tokens_.push_back(*token);
    if (callbacks_.on_token) callbacks_.on_token();
    if (detokenizer_) text = detokenizer_->push(*token);
  }
  if (request_.logprobs) {
    waiting_.add({.logprobs = logprobs_of(logits, *token, *request_.logprobs), .ends = ends}, text);
  }
  if (!ends) show(may_end ? stops_.push(text) : text);
  if (!ends && !stops_.stopped()) return token;
  finish_ = FinishReason::stop;
  return std::optional<uint32_t>();
}

void Answer::write_to(GenerationResult& result) {
  if (detokenizer_) show(stops_.push(detokenizer_->flush()));
  show(stops_.flush());
  deliver(waiting_.take_rest(text_.size(), stops_.stopped()));
  result.finish = finish_;
  result.text = std::move(text_);
  result.tokens = std::move(tokens_);
  result.scored = request_.logprobs.has_value();
  result.text_tokens = std::move(text_tokens_);
  result.repeats_prompt = request_.repeats_prompt;
}

void Answer::show(const std::string& text) {
  text_ += text;
  deliver(waiting_.take(text_.size()));
  if (!text.empty() && callbacks_.on_text) callbacks_.on_text(text);
}

// Before their text: who is told of the text finds its tokens.
void Answer::deliver(std::vector<TextToken> tokens) {
  if (tokens.empty()) return;
  if (request_.queue) return request_.queue->push(std::move(tokens));
  text_tokens_.insert(text_tokens_.end(), std::make_move_iterator(tokens.begin()),
                      std::make_move_iterator(tokens.end()));
}

}  // namespace skvis
