// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <random>

namespace skvis {

SamplingOptions resolve_sampling(const SamplingRequest& request, const GenerationDefaults& model,
                                 const SamplingOptions& fallback) {
  SamplingOptions options = fallback;
  // A model that says "do not sample" says so by temperature 0 here.
  if (model.do_sample.has_value() && !*model.do_sample) options.temperature = 0;
  if (model.temperature) options.temperature = *model.temperature;
  if (model.top_p) options.top_p = *model.top_p;
  if (model.min_p) options.min_p = *model.min_p;
  if (model.top_k) options.top_k = static_cast<uint32_t>(std::max<int64_t>(0, *model.top_k));
  if (request.temperature) options.temperature = *request.temperature;
  if (request.top_k) options.top_k = *request.top_k;
  if (request.top_p) options.top_p = *request.top_p;
  if (request.min_p) options.min_p = *request.min_p;
  options.seed = request.seed ? *request.seed : std::random_device{}();
  return options;
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), state_(options.seed) {}

// SplitMix64 (Steele, Lea, Flood, 2014): small, and the same everywhere, which std::uniform_* is
// not.
double Sampler::uniform() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

uint32_t argmax(std::span<const float> logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

uint32_t Sampler::sample(std::span<const float> logits) {
  if (options_.temperature <= 0) return argmax(logits);
  const float best = *std::max_element(logits.begin(), logits.end());
  const double scale = 1.0 / options_.temperature;
  // A token this far below the best has no chance worth sorting for: e^-40 is 4e-18.
  const auto cutoff = static_cast<float>(best - 40.0 * options_.temperature);
  candidates_.clear();
  for (uint32_t token = 0; token < logits.size(); ++token) {
    if (logits[token] >= cutoff) candidates_.emplace_back(logits[token], token);
  }
  const auto better = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  if (options_.top_k > 0 && options_.top_k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(),
                     better);
    candidates_.resize(options_.top_k);
  }
  std::sort(candidates_.begin(), candidates_.end(), better);
  double total = 0;
  for (auto& [logit, token] : candidates_) {
    logit = static_cast<float>(std::exp((logit - best) * scale));
    total += logit;
  }
  size_t count = candidates_.size();
  if (options_.top_p < 1) {  // the fewest of the best whose sum reaches top_p
    double sum = 0;
    size_t kept = 0;
    while (kept < count && (kept == 0 || sum < options_.top_p * total)) {
      sum += candidates_[kept++].first;
    }
    count = kept;
  }
  if (options_.min_p > 0) {  // the best has weight 1
    while (count > 1 && candidates_[count - 1].first < options_.min_p) --count;
  }
  double kept_total = 0;
  for (size_t i = 0; i < count; ++i) kept_total += candidates_[i].first;
  double draw = uniform() * kept_total;
  for (size_t i = 0; i + 1 < count; ++i) {
    draw -= candidates_[i].first;
    if (draw < 0) return candidates_[i].second;
  }
  return candidates_[count - 1].second;
}

}  // namespace skvis
