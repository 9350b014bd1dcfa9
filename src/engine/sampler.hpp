// SPDX-License-Identifier: Apache-2.0
// From logits to a token.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "engine/logit_steps.hpp"
#include "formats/model_config.hpp"

namespace skvis {

struct SamplingOptions {
  double temperature = 0.8;       // 0: the best token, always
  uint32_t top_k = 0;             // 0: all
  double top_p = 0.95;            // 1: all
  double min_p = 0;               // tokens below min_p times the best probability are left out
  double typical_p = 1;           // 1: all
  double repetition_penalty = 1;  // > 0; over the tokens of prompt and answer; 1: none
  double presence_penalty = 0;    // over the tokens of the answer, as is the next
  double frequency_penalty = 0;
  uint64_t seed = 0;
};

// What a request may leave open. Filled from the model's generation_config.json, then from
// `fallback`.
struct SamplingRequest {
  std::optional<double> temperature;
  std::optional<uint32_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> typical_p;
  std::optional<double> repetition_penalty;
  std::optional<double> presence_penalty;
  std::optional<double> frequency_penalty;
  std::optional<uint64_t> seed;  // absent: a random one
};
SamplingOptions resolve_sampling(const SamplingRequest& request, const GenerationDefaults& model,
                                 const SamplingOptions& fallback);

// Tokens that a request wants more, less or not at all.
struct TokenRules {
  std::vector<uint32_t> allowed;                   // no others; empty: all
  std::vector<std::vector<uint32_t>> forbidden;    // sequences that never appear in the answer
  std::vector<std::pair<uint32_t, float>> biases;  // added to the logits
};

// What holds for one token only.
struct DrawLimits {
  std::span<const uint64_t> allowed = {};  // a bit for each token, as keep_masked; empty: all
  std::span<const uint32_t> forbidden = {};
};

// One request's sampler. The same seed, prompt and logits give the same tokens on every machine.
class Sampler {
 public:
  // `prompt`: its tokens, for the repetition penalty.
  // `rules`: none where it is null.
  explicit Sampler(const SamplingOptions& options, std::shared_ptr<const TokenRules> rules = {},
                   std::span<const uint32_t> prompt = {});

  // logits [vocabulary]. The order of steps:
  //   what may not be: mask.allowed, rules.allowed, mask.forbidden, rules.forbidden;
  //   what is wanted: biases, repetition penalty, frequency and presence penalty;
  //   the draw: temperature, top-k, typical-p, top-p, min-p.
  // Nothing where no token is left.
  std::optional<uint32_t> sample(std::span<const float> logits, const DrawLimits& mask = {});

 private:
  struct Candidate {
    float weight;  // first the logit, then its probability over the best token's
    uint32_t token;
    float oddity;  // how far its surprise is from the expected one, for typical_p
  };

  static bool better(const Candidate& a, const Candidate& b);
  bool penalises() const;
  bool adjusts(const DrawLimits& mask) const;
  std::span<const float> adjust(std::span<const float> logits, const DrawLimits& mask);
  uint32_t draw(std::span<const float> logits, float best);
  void gather(std::span<const float> logits, float best);
  void keep_top_k();
  void keep_typical();
  void keep_min_p();
  template <typename Before>
  void keep_first(double share, const Before& before);
  uint32_t pick();
  double total() const;
  double uniform();

  SamplingOptions options_;
  std::shared_ptr<const TokenRules> rules_;  // never null
  uint64_t state_;
  TokenCounts counts_;               // where penalties ask for them
  std::vector<uint32_t> generated_;  // where sequences are forbidden
  std::vector<float> adjusted_;
  std::vector<Candidate> candidates_;
};

// The best token; of equal ones the lowest id.
uint32_t argmax(std::span<const float> logits);

}  // namespace skvis
