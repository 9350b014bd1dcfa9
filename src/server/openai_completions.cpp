// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions: a text goes on. Several prompts give several choices.
#include "server/answer.hpp"
#include "server/logprobs.hpp"

namespace skvis {
namespace {

class CompletionFormat final : public AnswerFormat {
 public:
  using AnswerFormat::AnswerFormat;

  Json first(size_t) const override { return nullptr; }
  Json piece(size_t index, std::string_view text) const override {
    return chunk(index, text, tokens_of(index, text.size()), nullptr);
  }
  Json last(size_t index, FinishReason reason) const override {
    return chunk(index, "", last_tokens(index), finish_name(reason));
  }
  Json usage(const Usage& usage) const override {
    return with_usage(envelope("text_completion", Json::array()), usage);
  }
  Json whole(std::span<const GenerationResult> results, const Usage& usage) const override {
    Json choices = Json::array();
    for (size_t i = 0; i < results.size(); ++i) {
      const GenerationResult& result = results[i];
      choices.push_back(choice(i, result.text, logprobs(result.scored, result.text_tokens),
                               finish_name(result.finish)));
      if (!result.prompt_logprobs.empty()) {
        choices[i]["prompt_logprobs"] = prompt_logprobs(tokenizer_, result.prompt_logprobs);
      }
    }
    return with_usage(envelope("text_completion", std::move(choices)), usage);
  }

 private:
  static Json choice(size_t index, std::string_view text, Json logprobs, Json finish) {
    return {{"index", index},
            {"text", text},
            {"logprobs", std::move(logprobs)},
            {"finish_reason", std::move(finish)}};
  }
  Json logprobs(bool scored, std::span<const TextToken> tokens) const {
    return scored ? completion_logprobs(tokenizer_, tokens) : Json(nullptr);
  }
  Json chunk(size_t index, std::string_view text, std::span<const TextToken> tokens,
             Json finish) const {
    Json choices = Json::array();
    choices.push_back(choice(index, text, logprobs(!tokens.empty(), tokens), std::move(finish)));
    return envelope("text_completion", std::move(choices));
  }
};

ApiResult<std::vector<uint32_t>> encode_prompt(const ServerContext& context,
                                               const PromptInput& prompt) {
  if (const auto* ids = std::get_if<std::vector<uint32_t>>(&prompt)) return *ids;
  auto tokens = context.engine.model().tokenizer->encode(std::get<std::string>(prompt),
                                                         {.add_special = true});
  if (!tokens) return bad_request(tokens.error().message, "prompt");
  return std::move(*tokens);
}

}  // namespace

ApiResult<AnswerJob> prepare_completion(const ServerContext& context,
                                        const CompletionRequest& request) {
  if (auto error = check_model(context, request.options.model)) return *error;
  if (auto error = check_tokenizer(context)) return *error;
  SKVIS_TRY(const GenerationMaker maker,
            GenerationMaker::create(context, request.options, request.echo));
  AnswerJob job{.stream = request.options.stream,
                .include_usage = request.options.include_usage,
                .kv_heads = context.engine.layout().heads()};
  for (const PromptInput& prompt : request.prompts) {
    SKVIS_TRY(std::vector<uint32_t> tokens, encode_prompt(context, prompt));
    SKVIS_TRY(GenerationRequest generation, maker.make(std::move(tokens), "prompt"));
    add_choices(request.options, std::move(generation), job);
  }
  if (auto error = check_logprobs(job)) return *error;
  job.format = std::make_shared<CompletionFormat>(
      answer_head(context, "cmpl-"), *context.engine.model().tokenizer, queues_of(job));
  return job;
}

}  // namespace skvis
