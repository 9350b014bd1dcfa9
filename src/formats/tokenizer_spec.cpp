// SPDX-License-Identifier: Apache-2.0
#include "formats/tokenizer_spec.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace skvis {
namespace {

// Ends of a turn or of a text in the chat formats of Llama, Qwen, SmolLM, Mistral, Gemma and Phi.
constexpr std::array<std::string_view, 9> kEndNames = {
    "<|im_end|>",      "<|eot_id|>",    "<|eom_id|>",
    "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>",
    "<|end_of_turn|>", "<|end|>",       "</s>"};

}  // namespace

void find_end_ids(TokenizerSpec& spec) {
  std::vector<uint32_t> ids;
  const auto add = [&](uint32_t id) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  if (spec.eos) add(*spec.eos);
  for (const uint32_t id : spec.end_ids) add(id);
  for (const AddedToken& token : spec.added_tokens) {
    const bool known =
        std::find(kEndNames.begin(), kEndNames.end(), token.content) != kEndNames.end();
    if (token.special && known) add(token.id);
  }
  spec.end_ids = std::move(ids);
}

}  // namespace skvis
