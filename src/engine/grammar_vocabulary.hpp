// SPDX-License-Identifier: Apache-2.0
// Between tokenizers and grammars.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hpp"
#include "grammar/token_vocabulary.hpp"
#include "text/tokenizer.hpp"

namespace skvis {

// What each token adds to an answer. Special tokens are never part of one; `end_tokens` end it. The
// vocabulary has `logits` ids, as the model gives them, and at least the tokenizer's: further ids
// have no text. Make it once per model: it takes about a second per million tokens.
// Errors: an end token outside, a tokenizer that puts something between tokens.
Result<std::shared_ptr<const TokenVocabulary>> grammar_vocabulary(
    const Tokenizer& tokenizer, std::span<const uint32_t> end_tokens, size_t logits = 0);

}  // namespace skvis
