// SPDX-License-Identifier: Apache-2.0
// What a request changes about logits before a token is drawn: small steps over logits
// [vocabulary], each by itself. A token with the logit -infinity is never drawn. Ids outside the
// vocabulary are left out.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace skvis {

// Keeps the tokens whose bit is set: bit t % 64 of word t / 64. Tokens beyond the last word go.
void keep_masked(std::span<float> logits, std::span<const uint64_t> mask);
// Keeps these tokens only.
void keep_only(std::span<float> logits, std::span<const uint32_t> tokens);
void forbid(std::span<float> logits, std::span<const uint32_t> tokens);
// Forbids the last token of each sequence whose other tokens end `generated`.
void forbid_sequences(std::span<float> logits, std::span<const std::vector<uint32_t>> sequences,
                      std::span<const uint32_t> generated);
void add_bias(std::span<float> logits, std::span<const std::pair<uint32_t, float>> bias);

// How often the answer has each token; tokens of the prompt alone are there with 0.
using TokenCounts = std::unordered_map<uint32_t, uint32_t>;
// Keskar et al., CTRL (2019): positive logits of tokens in prompt or answer are divided by
// `penalty` (> 0), negative ones multiplied, so that both move the same way.
void penalise_repetition(std::span<float> logits, const TokenCounts& counts, double penalty);
// OpenAI: logit - count * frequency - (count > 0) * presence, over the tokens of the answer.
void penalise_use(std::span<float> logits, const TokenCounts& counts, double frequency,
                  double presence);

}  // namespace skvis
