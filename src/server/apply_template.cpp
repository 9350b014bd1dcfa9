// SPDX-License-Identifier: Apache-2.0
// POST /apply-template: the text that a conversation becomes, as the model would read it.
#include "server/fields.hpp"
#include "server/routes.hpp"

namespace skvis {
namespace {

ApiResult<Json> template_json(const ServerContext& context, std::string_view body) {
  // The fields of a chat request, so that what was sent there can be sent here.
  SKVIS_TRY(const ChatRequest request, parse_chat_request(body));
  SKVIS_TRY(const Json json, parse_body(body));
  bool add_generation_prompt = true;
  FieldReader reader(json);
  reader.boolean("add_generation_prompt", add_generation_prompt);
  if (reader.error()) return *reader.error();
  if (auto error = check_model(context, request.options.model)) return *error;
  const LoadedModel& model = context.engine.model();
  if (!model.chat_template) {
    return bad_request(fmt::format("{}: {}", model.name, model.tokenizer_problem), "messages");
  }
  const auto text = model.chat_template->render(request.messages, nullptr, add_generation_prompt,
                                                request.template_variables);
  if (!text) {
    return bad_request(fmt::format("the chat template of {} refuses these messages: {}",
                                   context.model_id, text.error().message),
                       "messages");
  }
  return Json{{"prompt", *text}};
}

}  // namespace

HttpResponse apply_template(const ServerContext& context, std::string_view body) {
  const ApiResult<Json> result = template_json(context, body);
  return result ? json_response(*result) : error_response(result.error());
}

}  // namespace skvis
