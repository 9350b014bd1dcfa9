// SPDX-License-Identifier: Apache-2.0
// From what a request asks for to what the engine is asked.
#include <algorithm>
#include <random>

#include "server/answer.hpp"

namespace skvis {
namespace {

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::random_device random;
  std::uniform_int_distribution<size_t> pick(0, kLetters.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += kLetters[pick(random)];
  return id;
}

// The most tokens up to prompt + default that fit, or 0 where not even one more does.
uint32_t most_that_fits(const Engine& engine, uint32_t prompt, uint32_t default_max) {
  uint32_t low = 0;
  uint32_t high = std::min(default_max, engine.context() - prompt);
  while (low < high) {
    const uint32_t middle = low + (high - low + 1) / 2;
    if (engine.can_ever_fit(prompt, prompt + middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

std::optional<ApiError> check_ids(const Engine& engine, std::span<const uint32_t> ids,
                                  std::string_view field) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < engine.vocabulary()) continue;
    return bad_request(fmt::format("request: token {} of '{}' is {}, expected an id below {}", i,
                                   field, ids[i], engine.vocabulary()),
                       std::string(field));
  }
  return std::nullopt;
}

// Errors: no tokens; no room in the context for one more, where one is wanted; unknown ids.
std::optional<ApiError> check_prompt(const Engine& engine, const AnswerOptions& options,
                                     std::span<const uint32_t> prompt, std::string_view field) {
  if (prompt.empty()) {
    return bad_request(fmt::format("request: '{}' has no tokens", field), std::string(field));
  }
  const size_t least = options.max_tokens == 0u ? 0 : 1;
  if (prompt.size() + least > engine.context()) {
    return bad_request(
        fmt::format("the prompt has {} tokens, and the context of {} leaves no room for "
                    "an answer; shorten '{}'",
                    prompt.size(), engine.context(), field),
        std::string(field), "context_length_exceeded");
  }
  return check_ids(engine, prompt, field);
}

// A word is written at the beginning of a text or after a space, in different tokens: both are
// forbidden, as vLLM does it.
ApiResult<std::vector<std::vector<uint32_t>>> sequences_of(const Tokenizer& tokenizer,
                                                           const std::vector<std::string>& words) {
  std::vector<std::vector<uint32_t>> sequences;
  for (const std::string& word : words) {
    const std::string_view bare =
        std::string_view(word).substr(std::min(word.find_first_not_of(' '), word.size()));
    for (const std::string& text : {word, " " + std::string(bare)}) {
      auto tokens = tokenizer.encode(text);
      if (!tokens) return bad_request(tokens.error().message, "bad_words");
      if (!tokens->empty()) sequences.push_back(std::move(*tokens));
    }
  }
  return sequences;
}

ApiResult<std::shared_ptr<const TokenRules>> make_rules(const Engine& engine,
                                                        const AnswerOptions& options) {
  if (auto error = check_ids(engine, options.allowed, "allowed_token_ids")) return *error;
  for (const auto& [token, bias] : options.biases) {
    if (auto error = check_ids(engine, {&token, 1}, "logit_bias")) return *error;
  }
  auto rules = std::make_shared<TokenRules>(
      TokenRules{.allowed = options.allowed, .forbidden = {}, .biases = options.biases});
  std::sort(rules->allowed.begin(), rules->allowed.end());
  rules->allowed.erase(std::unique(rules->allowed.begin(), rules->allowed.end()),
                       rules->allowed.end());
  SKVIS_TRY(rules->forbidden, sequences_of(*engine.model().tokenizer, options.bad_words));
  return std::shared_ptr<const TokenRules>(std::move(rules));
}

}  // namespace

ApiResult<GenerationMaker> GenerationMaker::create(const ServerContext& context,
                                                   const AnswerOptions& options, bool echo) {
  if (auto error = check_ids(context.engine, options.stop_tokens, "stop_token_ids")) return *error;
  GenerationMaker maker(context, options, echo);
  SKVIS_TRY(maker.rules_, make_rules(context.engine, options));
  SKVIS_TRY(maker.grammar_, context.grammars->find(options.grammar));
  return maker;
}

ApiResult<GenerationRequest> GenerationMaker::make(std::vector<uint32_t> prompt,
                                                   std::string_view field) const {
  const Engine& engine = context_.engine;
  const auto refuse = [&](const std::string& message, std::string code = {}) {
    return bad_request(message, std::string(field), std::move(code));
  };
  if (auto error = check_prompt(engine, options_, prompt, field)) return *error;
  GenerationRequest generation{.rules = rules_,
                               .grammar = grammar_,
                               .stop = options_.stop,
                               .show_stop = options_.show_stop,
                               .stop_tokens = options_.stop_tokens,
                               .min_tokens = options_.min_tokens,
                               .ignore_end = options_.ignore_end,
                               .echo = echo_,
                               .logprobs = options_.logprobs};
  generation.prompt_logprobs = echo_ ? options_.logprobs : options_.prompt_logprobs;
  const auto length = static_cast<uint32_t>(prompt.size());
  if (options_.max_tokens) {
    generation.max_tokens = std::min(*options_.max_tokens, engine.context() - length);
  } else {
    const uint32_t wanted = std::max(context_.default_max_tokens, options_.min_tokens);
    generation.max_tokens = std::max(1u, most_that_fits(engine, length, wanted));
  }
  if (auto fits = engine.can_ever_fit(length, length + generation.max_tokens); !fits) {
    return refuse(fits.error().message, "kv_memory_exceeded");
  }
  constexpr SamplingOptions kDefaults{.temperature = 1.0, .top_p = 1.0};
  generation.sampling =
      resolve_sampling(options_.sampling, engine.model().files->generation_defaults(), kDefaults);
  generation.prompt = std::move(prompt);
  if (auto right = check_request(engine, generation); !right) return refuse(right.error().message);
  return generation;
}

void add_choices(const AnswerOptions& options, GenerationRequest generation, AnswerJob& job) {
  for (uint32_t i = 0; i < options.choices; ++i) {
    GenerationRequest& added = job.generations.emplace_back(generation);
    added.sampling.seed += i;
    added.repeats_prompt = i > 0;
    if (i > 0) added.prompt_logprobs = generation.echo ? generation.prompt_logprobs : std::nullopt;
    if (options.stream && options.logprobs) added.queue = std::make_shared<TextTokenQueue>();
  }
}

std::optional<ApiError> check_logprobs(const AnswerJob& job) {
  size_t logprobs = 0;
  for (const GenerationRequest& generation : job.generations) {
    if (generation.prompt_logprobs) {
      logprobs += generation.prompt.size() * (1 + size_t{*generation.prompt_logprobs});
    }
    if (generation.logprobs) {
      logprobs += generation.max_tokens * (1 + size_t{*generation.logprobs});
    }
  }
  if (logprobs <= kMaxLogprobs) return std::nullopt;
  return bad_request(
      fmt::format("request: up to {} log-probabilities are asked for (tokens of all answers, each "
                  "with its best ones), and one request may ask for {}; send fewer prompts at "
                  "once, or ask for fewer of the best",
                  logprobs, kMaxLogprobs),
      "logprobs");
}

AnswerHead answer_head(const ServerContext& context, std::string_view id_prefix) {
  return {
      .id = random_id(id_prefix),
      .model = context.model_id,
      .fingerprint = fmt::format("skvis-{}-{:016x}", SKVIS_VERSION, context.engine.plan().identity),
      .created = std::time(nullptr)};
}

TokenQueues queues_of(const AnswerJob& job) {
  TokenQueues queues;
  for (const GenerationRequest& generation : job.generations) queues.push_back(generation.queue);
  return queues;
}

}  // namespace skvis
