// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions
#include "server/answer.hpp"
#include "server/logprobs.hpp"

namespace skvis {
namespace {

class ChatFormat final : public AnswerFormat {
 public:
  using AnswerFormat::AnswerFormat;

  Json first(size_t index) const override {
    return chunk(index, {{"role", "assistant"}, {"content", nullptr}}, {}, nullptr);
  }
  Json piece(size_t index, std::string_view text) const override {
    return chunk(index, {{"content", text}}, tokens_of(index, text.size()), nullptr);
  }
  Json last(size_t index, FinishReason reason) const override {
    return chunk(index, Json::object(), last_tokens(index), finish_name(reason));
  }
  Json usage(const Usage& usage) const override {
    return with_usage(envelope("chat.completion.chunk", Json::array()), usage);
  }
  Json whole(std::span<const GenerationResult> results, const Usage& usage) const override {
    Json choices = Json::array();
    for (size_t i = 0; i < results.size(); ++i) {
      const GenerationResult& result = results[i];
      choices.push_back({{"index", i},
                         {"message", {{"role", "assistant"}, {"content", result.text}}},
                         {"logprobs", result.scored ? chat_logprobs(tokenizer_, result.text_tokens)
                                                    : Json(nullptr)},
                         {"finish_reason", finish_name(result.finish)}});
    }
    Json answer = with_usage(envelope("chat.completion", std::move(choices)), usage);
    if (!results.empty() && !results[0].prompt_logprobs.empty()) {
      answer["prompt_logprobs"] = prompt_logprobs(tokenizer_, results[0].prompt_logprobs);
    }
    return answer;
  }

 private:
  Json chunk(size_t index, Json delta, std::span<const TextToken> tokens, Json finish) const {
    Json choice = {{"index", index},
                   {"delta", std::move(delta)},
                   {"logprobs", tokens.empty() ? Json(nullptr) : chat_logprobs(tokenizer_, tokens)},
                   {"finish_reason", std::move(finish)}};
    Json choices = Json::array();
    choices.push_back(std::move(choice));
    return envelope("chat.completion.chunk", std::move(choices));
  }
};

}  // namespace

ApiResult<AnswerJob> prepare_chat(const ServerContext& context, const ChatRequest& request) {
  if (auto error = check_model(context, request.options.model)) return *error;
  if (auto error = check_tokenizer(context)) return *error;
  SKVIS_TRY(std::vector<uint32_t> prompt,
            encode_messages(context, request.messages, request.template_variables));
  SKVIS_TRY(const GenerationMaker maker, GenerationMaker::create(context, request.options, false));
  SKVIS_TRY(GenerationRequest generation, maker.make(std::move(prompt), "messages"));
  AnswerJob job{.stream = request.options.stream,
                .include_usage = request.options.include_usage,
                .kv_heads = context.engine.layout().heads()};
  add_choices(request.options, std::move(generation), job);
  if (auto error = check_logprobs(job)) return *error;
  job.format = std::make_shared<ChatFormat>(answer_head(context, "chatcmpl-"),
                                            *context.engine.model().tokenizer, queues_of(job));
  return job;
}

}  // namespace skvis
