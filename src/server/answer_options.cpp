// SPDX-License-Identifier: Apache-2.0
#include "server/answer_options.hpp"

#include <algorithm>
#include <charconv>

#include "server/unsupported.hpp"

namespace skvis {
namespace {

// Nobody generates more, and sums with it stay far from 32 bits.
constexpr int64_t kMostTokens = int64_t{1} << 24;
constexpr int64_t kLongestPing = 3600;  // seconds
constexpr int64_t kMostPriority = 1000000;
constexpr double kShortestTimeout = 0.001;
constexpr double kLongestTimeout = 86400;
constexpr int64_t kMostBest = 20;  // OpenAI's limit of top_logprobs

void read_count(FieldReader& reader, std::string_view key, int64_t min, int64_t max,
                std::optional<uint32_t>& out) {
  std::optional<int64_t> value;
  reader.integer(key, min, max, value);
  if (value) out = static_cast<uint32_t>(*value);
}

void read_sampling(FieldReader& reader, SamplingRequest& sampling) {
  reader.number("temperature", 0, 100, sampling.temperature);
  reader.number("top_p", 0, 1, sampling.top_p);
  reader.number("min_p", 0, 1, sampling.min_p);
  reader.number("typical_p", 0, 1, sampling.typical_p);
  reader.number("presence_penalty", -2, 2, sampling.presence_penalty);
  reader.number("frequency_penalty", -2, 2, sampling.frequency_penalty);
  reader.number("repeat_penalty", 0.01, 100, sampling.repetition_penalty);
  reader.number("repetition_penalty", 0.01, 100, sampling.repetition_penalty);
  std::optional<int64_t> top_k;
  reader.integer("top_k", -1, INT32_MAX, top_k);  // -1 and 0: all, as servers disagree
  if (top_k) sampling.top_k = static_cast<uint32_t>(std::max<int64_t>(*top_k, 0));
  std::optional<int64_t> seed;
  reader.integer("seed", INT64_MIN, INT64_MAX, seed);
  if (seed) sampling.seed = static_cast<uint64_t>(*seed);
}

void read_stream(FieldReader& reader, AnswerOptions& options) {
  reader.boolean("stream", options.stream);
  const Json* stream = reader.find("stream_options");
  if (stream == nullptr) return;
  if (!stream->is_object()) return reader.wrong_type("stream_options", "an object");
  FieldReader inner(*stream, "stream_options.");
  inner.boolean("include_usage", options.include_usage);
  if (inner.error()) reader.refuse("stream_options", inner.error()->message);
}

void read_ids_of(FieldReader& reader, std::string_view key, std::vector<uint32_t>& ids) {
  if (reader.find(key) != nullptr) reader.ids(key, ids);
}

void read_biases(FieldReader& reader, std::vector<std::pair<uint32_t, float>>& biases) {
  const Json* given = reader.find("logit_bias");
  if (given == nullptr) return;
  if (!given->is_object()) return reader.wrong_type("logit_bias", "an object");
  for (const auto& [key, value] : given->items()) {
    uint32_t token = 0;
    const char* end = key.data() + key.size();
    const auto [rest, problem] = std::from_chars(key.data(), end, token);
    if (problem != std::errc() || rest != end) {
      return reader.refuse("logit_bias",
                           fmt::format("request: the keys of 'logit_bias' must be token ids "
                                       "(\"123\"), found \"{}\"",
                                       key));
    }
    const double bias = value.is_number() ? value.get<double>() : 1000;
    if (!(bias >= -100 && bias <= 100)) {
      return reader.refuse(
          "logit_bias",
          fmt::format("request: 'logit_bias.{}' must be a number from -100 to 100, found {}", key,
                      value.is_number() ? value.dump() : json_type(value)));
    }
    biases.emplace_back(token, static_cast<float>(bias));
  }
}

void read_ends(FieldReader& reader, AnswerOptions& options) {
  reader.texts("stop", kMaxStops, kMaxStopBytes, options.stop);
  reader.boolean("include_stop_str_in_output", options.show_stop);
  reader.boolean("ignore_eos", options.ignore_end);
  read_ids_of(reader, "stop_token_ids", options.stop_tokens);
  if (options.stop_tokens.size() > kMaxStopTokens) {
    reader.refuse("stop_token_ids",
                  fmt::format("request: 'stop_token_ids' may hold {} ids, found {}", kMaxStopTokens,
                              options.stop_tokens.size()));
  }
  std::optional<uint32_t> min_tokens;
  read_count(reader, "min_tokens", 0, kMostTokens, min_tokens);
  options.min_tokens = min_tokens.value_or(0);
  if (options.max_tokens && options.min_tokens > *options.max_tokens) {
    reader.refuse("min_tokens",
                  fmt::format("request: 'min_tokens' is {}, more than 'max_tokens', which is {}",
                              options.min_tokens, *options.max_tokens));
  }
}

void read_choices(FieldReader& reader, AnswerOptions& options) {
  std::optional<uint32_t> choices;
  read_count(reader, "n", 1, kMaxChoices, choices);
  options.choices = choices.value_or(1);
  std::optional<uint32_t> best_of;
  read_count(reader, "best_of", 1, kMaxChoices, best_of);
  if (best_of && *best_of != options.choices) {
    reader.refuse("best_of",
                  fmt::format("request: 'best_of' is {} and 'n' is {}: choosing the best of more "
                              "answers is not supported by this server; leave it out",
                              *best_of, options.choices),
                  "unsupported_parameter");
  }
}

// OpenAI's chat says in two fields what its completions say in one.
void read_logprobs(FieldReader& reader, Route route, AnswerOptions& options) {
  read_count(reader, "prompt_logprobs", 0, kMostBest, options.prompt_logprobs);
  if (options.prompt_logprobs && options.stream) {
    reader.refuse("prompt_logprobs",
                  "request: 'prompt_logprobs' is not part of a stream; leave "
                  "out one of it and 'stream'");
  }
  if (route == Route::completion) {
    return read_count(reader, "logprobs", 0, kMostBest, options.logprobs);
  }
  bool asked = false;
  reader.boolean("logprobs", asked);
  std::optional<uint32_t> best;
  read_count(reader, "top_logprobs", 0, kMostBest, best);
  if (asked) options.logprobs = best.value_or(0);
  if (!asked && best.value_or(0) > 0) {
    reader.refuse("top_logprobs", "request: 'top_logprobs' needs 'logprobs': true");
  }
}

void read_name(FieldReader& reader, std::string_view key, std::string& name) {
  reader.text(key, name);
  if (name.size() <= kMaxNameBytes) return;
  reader.refuse(key, fmt::format("request: '{}' may have {} bytes, found {}", key, kMaxNameBytes,
                                 name.size()));
}

void read_queue(FieldReader& reader, QueueOptions& queue) {
  read_name(reader, "cache_salt", queue.salt);
  read_name(reader, "user", queue.user);
  std::optional<int64_t> priority;
  reader.integer("priority", -kMostPriority, kMostPriority, priority);
  queue.priority = priority.value_or(0);
  reader.number("timeout_s", kShortestTimeout, kLongestTimeout, queue.timeout);
}

}  // namespace

void read_options(FieldReader& reader, Route route, AnswerOptions& options) {
  reader.text("model", options.model);
  read_stream(reader, options);
  // A text of no new tokens is how its own log-probabilities are asked for.
  const int64_t least = route == Route::completion ? 0 : 1;
  read_count(reader, "max_tokens", least, kMostTokens, options.max_tokens);
  if (route == Route::chat) {
    read_count(reader, "max_completion_tokens", least, kMostTokens, options.max_tokens);
  }
  read_sampling(reader, options.sampling);
  read_ends(reader, options);
  read_biases(reader, options.biases);
  read_ids_of(reader, "allowed_token_ids", options.allowed);
  reader.texts("bad_words", kMaxBadWords, kMaxStopBytes, options.bad_words);
  read_choices(reader, options);
  read_logprobs(reader, route, options);
  reader.integer("sse_ping_interval", -1, kLongestPing, options.sse_ping_interval);
  read_grammar(reader, options.grammar);
  read_queue(reader, options.queue);
  refuse_unsupported(reader);
}

}  // namespace skvis
