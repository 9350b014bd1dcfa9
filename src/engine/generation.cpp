// SPDX-License-Identifier: Apache-2.0
#include "engine/generation.hpp"

#include <algorithm>

#include "engine/answer.hpp"

namespace skvis {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string StopMatcher::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t found = std::string::npos;
  size_t length = 0;  // of what is shown of the stop text
  for (const std::string& stop : stops_) {
    const size_t at = stop.empty() ? std::string::npos : held_.find(stop);
    if (at < found) {
      found = at;
      length = show_ ? stop.size() : 0;
    }
  }
  if (found != std::string::npos) {
    stopped_ = true;
    std::string shown = held_.substr(0, found + length);
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

Result<void> check_request(const Engine& engine, const GenerationRequest& request) {
  const LoadedModel& model = engine.model();
  if (!request.tokens_only && !model.tokenizer) {
    return fail("{}: {}", model.name, model.tokenizer_problem);
  }
  if (request.tokens_only && !request.stop.empty()) {
    return fail("stop texts need the answer's text, and only its tokens are asked for");
  }
  if (request.prompt.empty()) return fail("the prompt is empty: it needs at least one token");
  if (request.prompt.size() + (request.max_tokens > 0 ? 1 : 0) > engine.context()) {
    return fail("the prompt has {} tokens, and the context of {} leaves no room for an answer",
                request.prompt.size(), engine.context());
  }
  for (const uint32_t token : request.prompt) {
    if (token >= engine.vocabulary()) {
      return fail("token {} is outside the vocabulary of {}", token, engine.vocabulary());
    }
  }
  if (request.prompt_logprobs && engine.layout().filters_rows()) {
    return fail(
        "log-probabilities of a prompt need all its rows in the last layer, and under plan "
        "'{}' only the newest get there; do not ask for them, or take another plan",
        engine.plan().name);
  }
  return {};
}

uint32_t most_tokens_of(const Engine& engine, const GenerationRequest& request) {
  const auto prompt = static_cast<uint32_t>(request.prompt.size());
  return prompt + std::min(request.max_tokens, engine.context() - prompt);
}

void note_memory(const Engine& engine, const SequenceCache& sequence, GenerationResult& result) {
  result.kv_bytes = sequence.bytes();
  result.kv_bytes_full = engine.layout().full_cache_bytes(sequence.committed());
  result.rows_held = sequence.rows_held();
  result.rows_seen = size_t{sequence.committed()} * engine.layout().heads();
}

Result<GenerationResult> Session::generate(const GenerationRequest& request,
                                           const GenerationCallbacks& callbacks) {
  SKVIS_CHECK(check_request(*engine_, request));
  if (request.prompt_logprobs) {
    return fail("a session reads prompts without their log-probabilities; the scheduler has them");
  }
  const uint32_t limit = most_tokens_of(*engine_, request);
  GenerationResult result;
  result.prompt_tokens = static_cast<uint32_t>(request.prompt.size());
  SKVIS_TRY(result.reused_tokens, prepare(request, limit));
  auto run = run_turn(request, callbacks, limit, result);
  if (!run) {
    clear();
    return run.error();
  }
  note_memory(*engine_, *sequence_, result);
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
    SKVIS_TRY(const std::optional<uint32_t> token, answer.next(logits));
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
