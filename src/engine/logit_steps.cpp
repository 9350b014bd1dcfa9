// SPDX-License-Identifier: Apache-2.0
#include "engine/logit_steps.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

namespace skvis {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

}  // namespace

void keep_masked(std::span<float> logits, std::span<const uint64_t> mask) {
  for (size_t token = 0; token < logits.size(); ++token) {
    const bool kept = token / 64 < mask.size() && ((mask[token / 64] >> (token % 64)) & 1) != 0;
    if (!kept) logits[token] = kNever;
  }
}

void keep_only(std::span<float> logits, std::span<const uint32_t> tokens) {
  std::vector<uint64_t> mask((logits.size() + 63) / 64);
  for (const uint32_t token : tokens) {
    if (token < logits.size()) mask[token / 64] |= uint64_t{1} << (token % 64);
  }
  keep_masked(logits, mask);
}

void forbid(std::span<float> logits, std::span<const uint32_t> tokens) {
  for (const uint32_t token : tokens) {
    if (token < logits.size()) logits[token] = kNever;
  }
}

void forbid_sequences(std::span<float> logits, std::span<const std::vector<uint32_t>> sequences,
                      std::span<const uint32_t> generated) {
  for (const std::vector<uint32_t>& sequence : sequences) {
    if (sequence.empty() || sequence.size() - 1 > generated.size()) continue;
    const auto last = std::prev(sequence.end());
    if (std::equal(sequence.begin(), last,
                   generated.end() - std::distance(sequence.begin(), last))) {
      forbid(logits, std::span(sequence).last(1));
    }
  }
}

void add_bias(std::span<float> logits, std::span<const std::pair<uint32_t, float>> bias) {
  for (const auto& [token, value] : bias) {
    if (token < logits.size()) logits[token] += value;
  }
}

void penalise_repetition(std::span<float> logits, const TokenCounts& counts, double penalty) {
  for (const auto& [token, count] : counts) {
    if (token >= logits.size()) continue;
    const double logit = logits[token];
    logits[token] = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
  }
}

void penalise_use(std::span<float> logits, const TokenCounts& counts, double frequency,
                  double presence) {
  for (const auto& [token, count] : counts) {
    if (count == 0 || token >= logits.size()) continue;
    logits[token] = static_cast<float>(logits[token] - count * frequency - presence);
  }
}

}  // namespace skvis
