// SPDX-License-Identifier: Apache-2.0
// Templates from anywhere: parsed, and rendered with a small conversation.
#include <cstdint>

#include "text/jinja/template.hpp"

namespace {

const skvis::Json& variables() {
  static const skvis::Json kVariables = {
      {"messages",
       {{{"role", "system"}, {"content", "Be terse."}},
        {{"role", "user"}, {"content", " Größe 😀 <b>?\n"}},
        {{"role", "assistant"}, {"content", "<think>\nx\n</think>\n\ny"}}}},
      {"tools", {{{"type", "function"}, {"function", {{"name", "f"}, {"strict", true}}}}}},
      {"add_generation_prompt", true},
      {"bos_token", "<s>"},
      {"eos_token", "</s>"},
      {"n", 3},
      {"x", 0.5},
      {"nothing", nullptr}};
  return kVariables;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = skvis::jinja::Template::parse(source, "fuzz");
  if (!parsed) return 0;
  skvis::jinja::Limits limits;
  limits.max_steps = 100'000;
  limits.max_output = size_t{1} << 20;
  const auto text = parsed->render(variables(), limits, 1'700'000'000);
  if (text.ok() && text->size() > (size_t{2} << 20)) __builtin_trap();
  return 0;
}
