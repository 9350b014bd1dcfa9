// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions: a text goes on. Several prompts give several choices.
#include "server/answer.hpp"

namespace skvis {
namespace {

class CompletionFormat final : public AnswerFormat {
 public:
  using AnswerFormat::AnswerFormat;

  Json first(size_t) const override { return nullptr; }
  Json piece(size_t index, std::string_view text) const override {
    return envelope("text_completion", Json::array({choice(index, text, nullptr)}));
  }
  Json last(size_t index, FinishReason reason) const override {
    return envelope("text_completion", Json::array({choice(index, "", finish_name(reason))}));
  }
  Json usage(const Usage& usage) const override {
    Json chunk = envelope("text_completion", Json::array());
    chunk["usage"] = usage_json(usage);
    return chunk;
  }
  Json whole(std::span<const GenerationResult> results, const Usage& usage) const override {
    Json choices = Json::array();
    for (size_t i = 0; i < results.size(); ++i) {
      choices.push_back(choice(i, results[i].text, finish_name(results[i].finish)));
    }
    Json answer = envelope("text_completion", std::move(choices));
    answer["usage"] = usage_json(usage);
    return answer;
  }

 private:
  static Json choice(size_t index, std::string_view text, Json finish) {
    return {{"index", index},
            {"text", text},
            {"logprobs", nullptr},
            {"finish_reason", std::move(finish)}};
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
  AnswerJob job{.format = std::make_shared<CompletionFormat>(random_id("cmpl-"), context.model_id,
                                                             std::time(nullptr)),
                .stream = request.options.stream,
                .include_usage = request.options.include_usage,
                .kv_heads = context.engine.layout().heads()};
  for (const PromptInput& prompt : request.prompts) {
    SKVIS_TRY(std::vector<uint32_t> tokens, encode_prompt(context, prompt));
    SKVIS_TRY(GenerationRequest generation,
              make_generation(context, request.options, std::move(tokens), "prompt"));
    job.generations.push_back(std::move(generation));
  }
  return job;
}

}  // namespace skvis
