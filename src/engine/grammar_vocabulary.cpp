// SPDX-License-Identifier: Apache-2.0
#include "engine/grammar_vocabulary.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace skvis {

Result<std::shared_ptr<const TokenVocabulary>> grammar_vocabulary(
    const Tokenizer& tokenizer, std::span<const uint32_t> end_tokens, size_t logits) {
  if (!tokenizer.separator().empty()) {
    return fail(
        "this tokenizer puts '{}' between tokens; grammars need one whose tokens join as "
        "they are",
        tokenizer.separator());
  }
  std::vector<std::string> tokens(std::max(tokenizer.vocabulary_size(), logits));
  for (uint32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (!tokenizer.is_special(id)) tokens[id] = tokenizer.token_bytes(id);
  }
  return TokenVocabulary::create(std::move(tokens), {end_tokens.begin(), end_tokens.end()});
}

}  // namespace skvis
