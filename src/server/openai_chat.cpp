// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions
#include "server/answer.hpp"

namespace skvis {
namespace {

class ChatFormat final : public AnswerFormat {
 public:
  using AnswerFormat::AnswerFormat;

  Json first(size_t index) const override {
    return chunk(index, {{"role", "assistant"}, {"content", nullptr}}, nullptr);
  }
  Json piece(size_t index, std::string_view text) const override {
    return chunk(index, {{"content", text}}, nullptr);
  }
  Json last(size_t index, FinishReason reason) const override {
    return chunk(index, Json::object(), finish_name(reason));
  }
  Json usage(const Usage& usage) const override {
    Json chunk = envelope("chat.completion.chunk", Json::array());
    chunk["usage"] = usage_json(usage);
    return chunk;
  }
  Json whole(std::span<const GenerationResult> results, const Usage& usage) const override {
    Json choices = Json::array();
    for (size_t i = 0; i < results.size(); ++i) {
      choices.push_back({{"index", i},
                         {"message", {{"role", "assistant"}, {"content", results[i].text}}},
                         {"logprobs", nullptr},
                         {"finish_reason", finish_name(results[i].finish)}});
    }
    Json answer = envelope("chat.completion", std::move(choices));
    answer["usage"] = usage_json(usage);
    return answer;
  }

 private:
  Json chunk(size_t index, Json delta, Json finish) const {
    Json choice = {{"index", index},
                   {"delta", std::move(delta)},
                   {"logprobs", nullptr},
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
  SKVIS_TRY(GenerationRequest generation,
            make_generation(context, request.options, std::move(prompt), "messages"));
  AnswerJob job{.format = std::make_shared<ChatFormat>(random_id("chatcmpl-"), context.model_id,
                                                       std::time(nullptr)),
                .stream = request.options.stream,
                .include_usage = request.options.include_usage,
                .kv_heads = context.engine.layout().heads()};
  job.generations.push_back(std::move(generation));
  return job;
}

}  // namespace skvis
