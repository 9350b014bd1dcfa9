// SPDX-License-Identifier: Apache-2.0
#include "engine/generation.hpp"

#include <algorithm>

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

Result<GenerationResult> Session::generate(const GenerationRequest& request,
                                           const GenerationCallbacks& callbacks) {
  const LoadedModel& model = engine_->model();
  if (!model.tokenizer) return fail("{}: {}", model.name, model.tokenizer_problem);
  if (request.prompt.empty()) return fail("the prompt is empty: it needs at least one token");
  const auto prompt = static_cast<uint32_t>(request.prompt.size());
  if (prompt >= engine_->context()) {
    return fail("the prompt has {} tokens, and the context of {} leaves no room for an answer",
                prompt, engine_->context());
  }
  for (const uint32_t token : request.prompt) {
    if (token >= engine_->vocabulary()) {
      return fail("token {} is outside the vocabulary of {}", token, engine_->vocabulary());
    }
  }
  GenerationResult result;
  const uint32_t limit =
      prompt + std::min<uint32_t>(request.max_tokens, engine_->context() - prompt);
  SKVIS_TRY(result.reused_tokens, prepare(request, limit));
  result.prompt_tokens = prompt;

  auto start = std::chrono::steady_clock::now();
  std::vector<float> logits(engine_->vocabulary());
  bool cancelled = false;
  const auto go_on = [&] {
    cancelled = cancelled || (callbacks.go_on && !callbacks.go_on());
    return !cancelled;
  };
  const auto on_prompt = [&](size_t done, size_t total) {
    if (callbacks.on_prompt) callbacks.on_prompt(done, total);
    return go_on();
  };
  const auto read =
      engine_->read(*sequence_, std::span(request.prompt).subspan(result.reused_tokens),
                    kPromptChunk, 1, logits, on_prompt);
  if (!read) {
    clear();
    return read.error();
  }
  result.prompt_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  tokens_.assign(request.prompt.begin(), request.prompt.begin() + sequence_->committed());

  Sampler sampler(request.sampling);
  Detokenizer detokenizer(*model.tokenizer, {.skip_special = true, .continues = true});
  StopMatcher stops(request.stop);
  const auto show = [&](const std::string& text) {
    result.text += text;
    if (!text.empty() && callbacks.on_text) callbacks.on_text(text);
  };
  result.finish = FinishReason::length;
  while (go_on() && prompt + result.tokens.size() < limit) {
    const uint32_t token = sampler.sample(logits);
    const bool ends =
        std::find(model.end_ids.begin(), model.end_ids.end(), token) != model.end_ids.end();
    if (ends && !request.ignore_end) {
      result.finish = FinishReason::stop;
      break;
    }
    result.tokens.push_back(token);
    show(stops.push(detokenizer.push(token)));
    if (stops.stopped()) {
      result.finish = FinishReason::stop;
      break;
    }
    if (prompt + result.tokens.size() >= limit) break;
    const StepWork work{.sequence = &*sequence_,
                        .tokens = {&token, 1},
                        .kind = RowKind::generated,
                        .logits_rows = 1};
    if (auto stepped = engine_->step({&work, 1}, logits); !stepped) {
      clear();
      return stepped.error();
    }
    tokens_.push_back(token);
  }
  if (!stops.stopped()) show(stops.push(detokenizer.flush()));
  show(stops.flush());
  if (cancelled) result.finish = FinishReason::cancelled;
  result.decode_seconds = seconds_since(start);
  result.kv_bytes = sequence_->bytes();
  result.kv_bytes_full = engine_->layout().full_cache_bytes(sequence_->committed());
  result.rows_held = sequence_->rows_held();
  result.rows_seen = size_t{sequence_->committed()} * engine_->layout().heads();
  return result;
}

}  // namespace skvis
