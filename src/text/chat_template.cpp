// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.hpp"

namespace skvis {
namespace {

constexpr std::string_view kChatMl =
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

Result<void> check_messages(const Json& messages) {
  if (!messages.is_array()) {
    return fail("messages: expected an array, found {}", json_type(messages));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object()) {
      return fail("messages[{}]: expected an object, found {}", i, json_type(messages[i]));
    }
    const auto role = messages[i].find("role");
    if (role == messages[i].end() || !role->is_string()) {
      return fail("messages[{}]: 'role' is missing or no string", i);
    }
  }
  return {};
}

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string_view bos_token,
                                         std::string_view eos_token) {
  const bool is_default = source.empty();
  SKVIS_TRY(jinja::Template compiled,
            jinja::Template::parse(is_default ? kChatMl : source, "chat template"));
  return ChatTemplate(std::move(compiled), bos_token, eos_token, is_default);
}

Result<std::string> ChatTemplate::render(const Json& messages, const Json& tools,
                                         bool add_generation_prompt, const Json& extra) const {
  SKVIS_CHECK(check_messages(messages));
  if (!tools.is_null() && !tools.is_array()) {
    return fail("tools: expected an array, found {}", json_type(tools));
  }
  if (!extra.is_null() && !extra.is_object()) {
    return fail("template variables: expected an object, found {}", json_type(extra));
  }
  // An empty list of tools means none, and templates ask `tools is not none`.
  Json variables = {{"messages", messages},    {"tools", tools.empty() ? Json(nullptr) : tools},
                    {"documents", nullptr},    {"add_generation_prompt", add_generation_prompt},
                    {"bos_token", bos_token_}, {"eos_token", eos_token_}};
  if (extra.is_object()) {
    for (const auto& [name, value] : extra.items()) variables[name] = value;
  }
  const std::time_t now = fixed_time_.value_or(std::time(nullptr));
  return template_.render(variables, jinja::Limits{}, now);
}

}  // namespace skvis
