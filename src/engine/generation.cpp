// SPDX-License-Identifier: Apache-2.0
#include "engine/generation.hpp"

#include <algorithm>

namespace skvis {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The growing answer: what was sampled, what may be shown of it, and why it ended.
class Answer {
 public:
  Answer(const LoadedModel& model, const GenerationRequest& request,
         const GenerationCallbacks& callbacks)
      : model_(model),
        request_(request),
        callbacks_(callbacks),
        sampler_(request.sampling),
        detokenizer_(*model.tokenizer, {.skip_special = true, .continues = true}),
        stops_(request.stop) {}

  // Samples the next token; nothing when the answer ends with it.
  std::optional<uint32_t> next(std::span<const float> logits) {
    const uint32_t token = sampler_.sample(logits);
    const auto& ends = model_.end_ids;
    if (!request_.ignore_end && std::find(ends.begin(), ends.end(), token) != ends.end()) {
      finish_ = FinishReason::stop;
      return std::nullopt;
    }
    tokens_.push_back(token);
    if (callbacks_.on_token) callbacks_.on_token();
    show(stops_.push(detokenizer_.push(token)));
    if (!stops_.stopped()) return token;
    finish_ = FinishReason::stop;
    return std::nullopt;
  }

  size_t tokens() const { return tokens_.size(); }

  void write_to(GenerationResult& result) {
    show(stops_.push(detokenizer_.flush()));
    show(stops_.flush());
    result.finish = finish_;
    result.text = std::move(text_);
    result.tokens = std::move(tokens_);
  }

 private:
  void show(const std::string& text) {
    text_ += text;
    if (!text.empty() && callbacks_.on_text) callbacks_.on_text(text);
  }

  const LoadedModel& model_;
  const GenerationRequest& request_;
  const GenerationCallbacks& callbacks_;
  Sampler sampler_;
  Detokenizer detokenizer_;
  StopMatcher stops_;
  std::string text_;
  std::vector<uint32_t> tokens_;
  FinishReason finish_ = FinishReason::length;
};

}  // namespace

std::string StopMatcher::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t found = std::string::npos;
  for (const std::string& stop : stops_) {
    if (!stop.empty()) found = std::min(found, held_.find(stop));
  }
  if (found != std::string::npos) {
    stopped_ = true;
    std::string shown = held_.substr(0, found);
    held_.clear();
    return shown;
  }
  // The longest end of what is held that begins a stop text stays back.
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(held_.size(), stop.empty() ? 0 : stop.size() - 1); length > keep;
         --length) {
      if (held_.compare(held_.size() - length, length, stop, 0, length) == 0) {
        keep = length;
        break;
      }
    }
  }
  std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopMatcher::flush() {
  if (stopped_) return {};
  return std::exchange(held_, {});
}

void Session::clear() {
  sequence_.reset();
  tokens_.clear();
  capacity_ = 0;
}

// Makes the cache ready for the prompt and answers how many of its tokens are in it already. At
// least one token is left to read: its logits begin the answer.
Result<uint32_t> Session::prepare(const GenerationRequest& request, uint32_t limit) {
  const auto prompt = static_cast<uint32_t>(request.prompt.size());
  const bool continues = sequence_ && tokens_.size() < prompt && limit <= capacity_ &&
                         std::equal(tokens_.begin(), tokens_.end(), request.prompt.begin());
  if (continues) return static_cast<uint32_t>(tokens_.size());
  clear();
  const uint32_t capacity = std::max(limit, std::min(reserve_, engine_->context()));
  SKVIS_TRY(SequenceCache sequence,
            engine_->open_sequence(capacity > limit ? capacity : prompt, capacity));
  sequence_.emplace(std::move(sequence));
  capacity_ = capacity;
  return 0u;
}

Result<void> Session::check(const GenerationRequest& request) const {
  const LoadedModel& model = engine_->model();
  if (!model.tokenizer) return fail("{}: {}", model.name, model.tokenizer_problem);
  if (request.prompt.empty()) return fail("the prompt is empty: it needs at least one token");
  if (request.prompt.size() >= engine_->context()) {
    return fail("the prompt has {} tokens, and the context of {} leaves no room for an answer",
                request.prompt.size(), engine_->context());
  }
  for (const uint32_t token : request.prompt) {
    if (token >= engine_->vocabulary()) {
      return fail("token {} is outside the vocabulary of {}", token, engine_->vocabulary());
    }
  }
  return {};
}

Result<GenerationResult> Session::generate(const GenerationRequest& request,
                                           const GenerationCallbacks& callbacks) {
  SKVIS_CHECK(check(request));
  const auto prompt = static_cast<uint32_t>(request.prompt.size());
  const uint32_t limit = prompt + std::min(request.max_tokens, engine_->context() - prompt);
  GenerationResult result;
  result.prompt_tokens = prompt;
  SKVIS_TRY(result.reused_tokens, prepare(request, limit));
  auto run = run_turn(request, callbacks, limit, result);
  if (!run) {
    clear();
    return run.error();
  }
  result.kv_bytes = sequence_->bytes();
  result.kv_bytes_full = engine_->layout().full_cache_bytes(sequence_->committed());
  result.rows_held = sequence_->rows_held();
  result.rows_seen = size_t{sequence_->committed()} * engine_->layout().heads();
  return result;
}

Result<void> Session::run_turn(const GenerationRequest& request,
                               const GenerationCallbacks& callbacks, uint32_t limit,
                               GenerationResult& result) {
  bool cancelled = false;
  const auto go_on = [&] {
    cancelled = cancelled || (callbacks.go_on && !callbacks.go_on());
    return !cancelled;
  };
  const auto on_prompt = [&](size_t done, size_t total) {
    if (callbacks.on_prompt) callbacks.on_prompt(done, total);
    return go_on();
  };
  auto start = std::chrono::steady_clock::now();
  std::vector<float> logits(engine_->vocabulary());
  SKVIS_CHECK(engine_->read(*sequence_, std::span(request.prompt).subspan(result.reused_tokens),
                            kPromptChunk, 1, logits, on_prompt, request.prompt));
  result.prompt_seconds = seconds_since(start);
  tokens_.assign(request.prompt.begin(), request.prompt.begin() + sequence_->committed());

  start = std::chrono::steady_clock::now();
  Answer answer(engine_->model(), request, callbacks);
  while (go_on() && request.prompt.size() + answer.tokens() < limit) {
    const std::optional<uint32_t> token = answer.next(logits);
    if (!token || request.prompt.size() + answer.tokens() >= limit) break;
    const StepWork work{.sequence = &*sequence_,
                        .tokens = {&*token, 1},
                        .kind = RowKind::generated,
                        .logits_rows = 1};
    SKVIS_CHECK(engine_->step({&work, 1}, logits));
    tokens_.push_back(*token);
  }
  answer.write_to(result);
  if (cancelled) result.finish = FinishReason::cancelled;
  result.decode_seconds = seconds_since(start);
  return {};
}

}  // namespace skvis
