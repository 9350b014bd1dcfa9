// SPDX-License-Identifier: Apache-2.0
// Messages -> the text a chat model was trained to continue.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"
#include "text/jinja/template.hpp"

namespace skvis {

class ChatTemplate {
 public:
  // `source` is the model's chat_template (tokenizer_config.json, or tokenizer.chat_template of a
  // GGUF file). An empty one, of a model that has none, gives ChatML; is_default() then says so,
  // for the caller to tell its user. The tokens may be empty.
  static Result<ChatTemplate> parse(std::string_view source, std::string_view bos_token,
                                    std::string_view eos_token);

  bool is_default() const { return is_default_; }

  // `messages`: an array of objects with "role" and "content", as in OpenAI's API. `tools`: an
  // array, or null. `extra`: an object of further variables (enable_thinking, ...), or null; they
  // win over those of this class. An error that the template itself raises has its text as the
  // whole message. The text begins with the template's own beginning-of-sequence token where it
  // writes one.
  Result<std::string> render(const Json& messages, const Json& tools, bool add_generation_prompt,
                             const Json& extra = nullptr) const;

  // What strftime_now shows instead of the time of the call.
  void set_time(std::time_t time) { fixed_time_ = time; }

 private:
  ChatTemplate(jinja::Template compiled, std::string_view bos_token, std::string_view eos_token,
               bool is_default)
      : template_(std::move(compiled)),
        bos_token_(bos_token),
        eos_token_(eos_token),
        is_default_(is_default) {}

  jinja::Template template_;
  std::string bos_token_;
  std::string eos_token_;
  bool is_default_ = false;
  std::optional<std::time_t> fixed_time_;
};

}  // namespace skvis
