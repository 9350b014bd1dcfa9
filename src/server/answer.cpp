// SPDX-License-Identifier: Apache-2.0
#include "server/answer.hpp"

#include <cmath>

namespace skvis {

void Usage::add(const GenerationResult& result) {
  if (!result.repeats_prompt) {
    prompt_tokens += result.prompt_tokens;
    cached_tokens += result.reused_tokens;
  }
  completion_tokens += result.tokens.size();
  prompt_read += result.prompt_tokens - result.reused_tokens;
  prompt_seconds += result.prompt_seconds;
  decode_seconds += result.decode_seconds;
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

Json timings_json(const Usage& usage) {
  const auto rate = [](uint64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  return {{"cache_n", usage.cached_tokens},
          {"prompt_n", usage.prompt_read},
          {"prompt_ms", 1000 * usage.prompt_seconds},
          {"prompt_per_second", rate(usage.prompt_read, usage.prompt_seconds)},
          {"predicted_n", usage.completion_tokens},
          {"predicted_ms", 1000 * usage.decode_seconds},
          {"predicted_per_second", rate(usage.completion_tokens, usage.decode_seconds)}};
}

std::string_view finish_name(FinishReason reason) {
  return reason == FinishReason::stop ? "stop" : "length";
}

Json AnswerFormat::envelope(std::string_view object, Json choices) const {
  return {{"id", head_.id},
          {"object", object},
          {"created", head_.created},
          {"model", head_.model},
          {"system_fingerprint", head_.fingerprint},
          {"choices", std::move(choices)}};
}

Json AnswerFormat::with_usage(Json object, const Usage& usage) const {
  object["usage"] = usage_json(usage);
  object["timings"] = timings_json(usage);
  return object;
}

std::vector<TextToken> AnswerFormat::tokens_of(size_t index, size_t bytes) const {
  return queues_[index] ? queues_[index]->take(bytes) : std::vector<TextToken>();
}

std::vector<TextToken> AnswerFormat::last_tokens(size_t index) const {
  return queues_[index] ? queues_[index]->take_rest() : std::vector<TextToken>();
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

}  // namespace skvis
