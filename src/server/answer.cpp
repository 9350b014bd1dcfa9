// SPDX-License-Identifier: Apache-2.0
#include "server/answer.hpp"

#include <cmath>
#include <random>

namespace skvis {

void Usage::add(const GenerationResult& result) {
  prompt_tokens += result.prompt_tokens;
  completion_tokens += result.tokens.size();
  cached_tokens += result.reused_tokens;
  kv_bytes += result.kv_bytes.pages;
  kv_bytes_rows += result.kv_bytes.rows;
  kv_bytes_full += result.kv_bytes_full;
  rows_held += result.rows_held;
  rows_seen += result.rows_seen;
}

Json usage_json(const Usage& usage) {
  // Heads may keep different numbers of tokens: their mean, to one decimal where it has one.
  const auto per_head = [&](size_t rows) -> Json {
    if (usage.heads == 0) return 0;
    const double tenths =
        std::round(10.0 * static_cast<double>(rows) / static_cast<double>(usage.heads));
    if (std::fmod(tenths, 10) == 0) return static_cast<size_t>(tenths / 10);
    return tenths / 10;
  };
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"kv",
           {{"bytes", usage.kv_bytes},
            {"bytes_rows", usage.kv_bytes_rows},
            {"bytes_full", usage.kv_bytes_full},
            {"tokens_kept", per_head(usage.rows_held)},
            {"tokens_seen", per_head(usage.rows_seen)}}}};
}

std::string_view finish_name(FinishReason reason) {
  return reason == FinishReason::stop ? "stop" : "length";
}

Json AnswerFormat::envelope(std::string_view object, Json choices) const {
  return {{"id", id_},
          {"object", object},
          {"created", created_},
          {"model", model_},
          {"choices", std::move(choices)}};
}

std::optional<ApiError> check_model(const ServerContext& context, const std::string& asked) {
  if (asked.empty() || asked == context.model_id) return std::nullopt;
  return ApiError{.status = 404,
                  .message = fmt::format("model '{}' is not served here; expected '{}'", asked,
                                         context.model_id),
                  .param = "model",
                  .code = "model_not_found"};
}

std::optional<ApiError> check_tokenizer(const ServerContext& context) {
  const LoadedModel& model = context.engine.model();
  if (model.tokenizer) return std::nullopt;
  return bad_request(fmt::format("{}: {}", model.name, model.tokenizer_problem), "model");
}

ApiResult<std::vector<uint32_t>> encode_messages(const ServerContext& context, const Json& messages,
                                                 const Json& template_variables) {
  const LoadedModel& model = context.engine.model();
  if (!model.chat_template) {
    return bad_request(fmt::format("{}: {}", model.name, model.tokenizer_problem), "messages");
  }
  const auto text = model.chat_template->render(messages, nullptr, true, template_variables);
  if (!text) {
    return bad_request(fmt::format("the chat template of {} refuses these messages: {}",
                                   context.model_id, text.error().message),
                       "messages");
  }
  auto tokens = model.tokenizer->encode(*text);
  if (!tokens) return bad_request(tokens.error().message, "messages");
  return std::move(*tokens);
}

namespace {

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

}  // namespace

ApiResult<GenerationRequest> make_generation(const ServerContext& context,
                                             const AnswerOptions& options,
                                             std::vector<uint32_t> prompt, std::string_view field) {
  const Engine& engine = context.engine;
  const auto refuse = [&](std::string message, std::string code = {}) {
    return bad_request(std::move(message), std::string(field), std::move(code));
  };
  if (prompt.empty()) return refuse(fmt::format("request: '{}' has no tokens", field));
  if (prompt.size() >= engine.context()) {
    return refuse(fmt::format("the prompt has {} tokens, and the context of {} leaves no room for "
                              "an answer; shorten '{}'",
                              prompt.size(), engine.context(), field),
                  "context_length_exceeded");
  }
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (prompt[i] >= engine.vocabulary()) {
      return refuse(fmt::format("request: token {} of '{}' is {}, expected an id below {}", i,
                                field, prompt[i], engine.vocabulary()));
    }
  }
  const auto length = static_cast<uint32_t>(prompt.size());
  GenerationRequest generation{.stop = options.stop, .ignore_end = options.ignore_end};
  if (options.max_tokens) {
    generation.max_tokens = std::min(*options.max_tokens, engine.context() - length);
  } else {
    generation.max_tokens =
        std::max(1u, most_that_fits(engine, length, context.default_max_tokens));
  }
  if (auto fits = engine.can_ever_fit(length, length + generation.max_tokens); !fits) {
    return refuse(fits.error().message, "kv_memory_exceeded");
  }
  constexpr SamplingOptions kDefaults{.temperature = 1.0, .top_p = 1.0};
  generation.sampling =
      resolve_sampling(options.sampling, engine.model().files->generation_defaults(), kDefaults);
  generation.prompt = std::move(prompt);
  return generation;
}

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::random_device random;
  std::uniform_int_distribution<size_t> pick(0, kLetters.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += kLetters[pick(random)];
  return id;
}

}  // namespace skvis
