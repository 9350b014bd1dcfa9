// SPDX-License-Identifier: Apache-2.0
#include "server/request.hpp"

#include <algorithm>
#include <array>

#include "server/answer_options.hpp"
#include "server/fields.hpp"

namespace skvis {
namespace {

// The texts of a message's parts, a line break between them.
ApiResult<std::string> read_parts(const Json& parts, const std::string& name) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string part_name = fmt::format("{}[{}]", name, i);
    if (!parts[i].is_object()) {
      return bad_request(
          fmt::format("request: '{}' must be an object, found {}", part_name, json_type(parts[i])),
          name);
    }
    std::string type;
    std::string part;
    FieldReader reader(parts[i], part_name + ".");
    reader.text("type", type);
    if (!reader.error() && type != "text") {
      reader.refuse("type", fmt::format("request: '{}.type' must be 'text', found '{}'; this "
                                        "server reads text only",
                                        part_name, type));
    }
    if (reader.find("text") == nullptr) reader.wrong_type("text", "a string");
    reader.text("text", part);
    if (reader.error()) return *reader.error();
    if (i > 0) text += '\n';
    text += part;
  }
  return text;
}

ApiResult<std::string> read_content(const Json& message, const FieldReader& reader) {
  const std::string name = reader.name("content");
  const Json* content = reader.find("content");
  if (content == nullptr) {
    // The turn of an assistant that only called tools has no text.
    const Json* calls = reader.find("tool_calls");
    if (message.at("role") == "assistant" && calls != nullptr && !calls->empty()) {
      return std::string();
    }
    return bad_request(
        fmt::format("request: '{}' is missing, expected a string or an array of text parts", name),
        name);
  }
  if (content->is_string()) return content->get<std::string>();
  if (content->is_array()) return read_parts(*content, name);
  return bad_request(fmt::format("request: '{}' must be a string or an array of text parts, found "
                                 "{}",
                                 name, json_type(*content)),
                     name);
}

ApiResult<Json> read_message(const Json& message, size_t index) {
  const std::string name = fmt::format("messages[{}]", index);
  if (!message.is_object()) {
    return bad_request(
        fmt::format("request: '{}' must be an object, found {}", name, json_type(message)), name);
  }
  FieldReader reader(message, name + ".");
  std::string role;
  if (reader.find("role") == nullptr) reader.wrong_type("role", "a string");
  reader.text("role", role);
  constexpr std::array<std::string_view, 5> kRoles = {"system", "user", "assistant", "tool",
                                                      "developer"};
  if (!reader.error() && std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    reader.refuse("role", fmt::format("request: '{}.role' must be {}, found '{}'", name,
                                      fmt::join(kRoles, ", "), role));
  }
  std::array<std::string, 3> texts;
  constexpr std::array<std::string_view, 3> kTexts = {"name", "tool_call_id", "reasoning_content"};
  for (size_t i = 0; i < kTexts.size(); ++i) reader.text(kTexts[i], texts[i]);
  const Json* calls = reader.find("tool_calls");
  if (calls != nullptr && !calls->is_array()) reader.wrong_type("tool_calls", "an array");
  if (reader.error()) return *reader.error();
  SKVIS_TRY(std::string content, read_content(message, reader));

  // Templates of open models know no developer: to them its words are the system's.
  Json read = {{"role", role == "developer" ? "system" : role}, {"content", std::move(content)}};
  for (size_t i = 0; i < kTexts.size(); ++i) {
    if (!texts[i].empty()) read[std::string(kTexts[i])] = std::move(texts[i]);
  }
  if (calls != nullptr) read["tool_calls"] = *calls;
  return read;
}

ApiResult<Json> read_messages(const Json* messages) {
  if (messages == nullptr || !messages->is_array()) {
    return bad_request(
        messages == nullptr
            ? "request: 'messages' is missing, expected an array of messages"
            : fmt::format("request: 'messages' must be an array, found {}", json_type(*messages)),
        "messages");
  }
  if (messages->empty()) {
    return bad_request("request: 'messages' is empty, expected at least one message", "messages");
  }
  Json read = Json::array();
  for (size_t i = 0; i < messages->size(); ++i) {
    SKVIS_TRY(Json message, read_message((*messages)[i], i));
    read.push_back(std::move(message));
  }
  return read;
}

ApiResult<PromptInput> read_prompt(const Json& prompt, const std::string& name) {
  if (prompt.is_string()) return PromptInput(prompt.get<std::string>());
  if (!prompt.is_array()) {
    return bad_request(fmt::format("request: '{}' must be a string or an array of token ids, found "
                                   "{}",
                                   name, json_type(prompt)),
                       "prompt");
  }
  auto ids = read_ids(prompt, name);
  if (!ids) return bad_request(ids.error().message, "prompt");
  return PromptInput(std::move(*ids));
}

ApiResult<std::vector<PromptInput>> read_prompts(const Json* prompt) {
  if (prompt == nullptr) {
    return bad_request(
        "request: 'prompt' is missing, expected a string, an array of strings, of token ids, or of "
        "arrays of token ids",
        "prompt");
  }
  std::vector<PromptInput> prompts;
  const bool several = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  if (!several) {
    SKVIS_TRY(PromptInput only, read_prompt(*prompt, "prompt"));
    prompts.push_back(std::move(only));
    return prompts;
  }
  if (prompt->size() > kMaxPrompts) {
    return bad_request(
        fmt::format("request: 'prompt' may hold {} prompts, found {}", kMaxPrompts, prompt->size()),
        "prompt");
  }
  for (size_t i = 0; i < prompt->size(); ++i) {
    SKVIS_TRY(PromptInput one, read_prompt((*prompt)[i], fmt::format("prompt[{}]", i)));
    prompts.push_back(std::move(one));
  }
  return prompts;
}

}  // namespace

ApiResult<ChatRequest> parse_chat_request(std::string_view body) {
  SKVIS_TRY(const Json json, parse_body(body));
  ChatRequest request;
  FieldReader reader(json);
  read_options(reader, Route::chat, request.options);
  if (const Json* variables = reader.find("chat_template_kwargs")) {
    if (!variables->is_object()) reader.wrong_type("chat_template_kwargs", "an object");
    request.template_variables = *variables;
  }
  if (reader.error()) return *reader.error();
  SKVIS_TRY(request.messages, read_messages(reader.find("messages")));
  return request;
}

ApiResult<CompletionRequest> parse_completion_request(std::string_view body) {
  SKVIS_TRY(const Json json, parse_body(body));
  CompletionRequest request;
  FieldReader reader(json);
  read_options(reader, Route::completion, request.options);
  reader.boolean("echo", request.echo);
  if (request.echo && request.options.prompt_logprobs) {
    reader.refuse("prompt_logprobs",
                  "request: with 'echo', 'logprobs' says what 'prompt_logprobs' "
                  "would; leave out one of them");
  }
  if (reader.error()) return *reader.error();
  SKVIS_TRY(request.prompts, read_prompts(reader.find("prompt")));
  const size_t answers = request.prompts.size() * request.options.choices;
  if (answers > kMaxPrompts) {
    return bad_request(
        fmt::format("request: {} prompts with 'n' {} ask for {} answers, and one "
                    "request may ask for {}",
                    request.prompts.size(), request.options.choices, answers, kMaxPrompts),
        "n");
  }
  return request;
}

ApiResult<TokenizeRequest> parse_tokenize_request(std::string_view body) {
  SKVIS_TRY(const Json json, parse_body(body));
  TokenizeRequest request;
  FieldReader reader(json);
  const int given = (reader.find("content") != nullptr) + (reader.find("prompt") != nullptr) +
                    (reader.find("messages") != nullptr);
  if (given != 1) {
    return bad_request(
        fmt::format("request: expected one of 'content', 'prompt' and 'messages', found {}", given),
        "content");
  }
  reader.text("content", request.text);
  reader.text("prompt", request.text);
  reader.boolean("add_special", request.add_special);
  reader.boolean("add_special_tokens", request.add_special);
  reader.boolean("parse_special", request.parse_special);
  reader.boolean("with_pieces", request.with_pieces);
  if (reader.error()) return *reader.error();
  if (const Json* messages = reader.find("messages")) {
    SKVIS_TRY(request.messages, read_messages(messages));
  }
  return request;
}

ApiResult<DetokenizeRequest> parse_detokenize_request(std::string_view body) {
  SKVIS_TRY(const Json json, parse_body(body));
  DetokenizeRequest request;
  FieldReader reader(json);
  reader.ids("tokens", request.tokens);
  if (reader.error()) return *reader.error();
  return request;
}

}  // namespace skvis
