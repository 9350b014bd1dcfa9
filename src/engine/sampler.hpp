// SPDX-License-Identifier: Apache-2.0
// From logits to a token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "formats/model_config.hpp"

namespace skvis {

struct SamplingOptions {
  double temperature = 0.8;  // 0: the best token, always
  uint32_t top_k = 0;        // 0: all
  double top_p = 0.95;       // 1: all
  double min_p = 0;          // tokens below min_p times the best probability are left out
  uint64_t seed = 0;
};

// What a request may leave open. Filled from the model's generation_config.json, then from
// `fallback`.
struct SamplingRequest {
  std::optional<double> temperature;
  std::optional<uint32_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<uint64_t> seed;  // absent: a random one
};
SamplingOptions resolve_sampling(const SamplingRequest& request, const GenerationDefaults& model,
                                 const SamplingOptions& fallback);

// One request's sampler. The same seed and logits give the same tokens on every machine.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  // logits [vocabulary]. Order: temperature, top-k, top-p, min-p, draw.
  uint32_t sample(std::span<const float> logits);

 private:
  double uniform();

  SamplingOptions options_;
  uint64_t state_;
  std::vector<std::pair<float, uint32_t>> candidates_;
};

// The best token; of equal ones the lowest id.
uint32_t argmax(std::span<const float> logits);

}  // namespace skvis
