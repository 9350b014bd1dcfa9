// SPDX-License-Identifier: Apache-2.0
// Log-probabilities as OpenAI's two completion routes and vLLM write them. -9999 stands for what
// JSON cannot say, minus infinity.
#pragma once

#include <span>

#include "base/json.hpp"
#include "engine/logprobs.hpp"
#include "text/tokenizer.hpp"

namespace skvis {

// {content: [{token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}], refusal: null}.
// `token` has U+FFFD for bytes that are no whole character, `bytes` has them exactly. A special
// token shows its name, and null as its bytes: it is no part of the text. The token that ended the
// answer is left out.
Json chat_logprobs(const Tokenizer& tokenizer, std::span<const TextToken> tokens);

// {tokens, token_logprobs, top_logprobs, text_offset}, an entry for each token, also for one that
// ended the answer; null for the log-probabilities of a prompt's first token. Tokens that are no
// whole characters are written as "bytes:\xf0\x9f". `top_logprobs` always holds the token itself.
// `text_offset` counts characters from the beginning of the choice's text.
Json completion_logprobs(const Tokenizer& tokenizer, std::span<const TextToken> tokens);

// vLLM's: null for the first token, then {"id": {logprob, rank, decoded_token}}, the token itself
// and the best ones.
Json prompt_logprobs(const Tokenizer& tokenizer, std::span<const TokenLogprobs> prompt);

}  // namespace skvis
