// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
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
  if (model.repetition_penalty.value_or(0) > 0) {
    options.repetition_penalty = *model.repetition_penalty;
  }
  if (request.temperature) options.temperature = *request.temperature;
  if (request.top_k) options.top_k = *request.top_k;
  if (request.top_p) options.top_p = *request.top_p;
  if (request.min_p) options.min_p = *request.min_p;
  if (request.typical_p) options.typical_p = *request.typical_p;
  if (request.repetition_penalty) options.repetition_penalty = *request.repetition_penalty;
  if (request.presence_penalty) options.presence_penalty = *request.presence_penalty;
  if (request.frequency_penalty) options.frequency_penalty = *request.frequency_penalty;
  options.seed = request.seed ? *request.seed : std::random_device{}();
  return options;
}

Sampler::Sampler(const SamplingOptions& options, std::shared_ptr<const TokenRules> rules,
                 std::span<const uint32_t> prompt)
    : options_(options),
      rules_(rules ? std::move(rules) : std::make_shared<const TokenRules>()),
      state_(options.seed) {
  if (options_.repetition_penalty == 1) return;
  for (const uint32_t token : prompt) counts_.emplace(token, 0);
}

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

bool Sampler::better(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

bool Sampler::penalises() const {
  return options_.repetition_penalty != 1 || options_.presence_penalty != 0 ||
         options_.frequency_penalty != 0;
}

bool Sampler::adjusts(const DrawLimits& mask) const {
  return !mask.allowed.empty() || !mask.forbidden.empty() || !rules_->allowed.empty() ||
         !rules_->forbidden.empty() || !rules_->biases.empty() || penalises();
}

std::span<const float> Sampler::adjust(std::span<const float> logits, const DrawLimits& mask) {
  adjusted_.assign(logits.begin(), logits.end());
  if (!mask.allowed.empty()) keep_masked(adjusted_, mask.allowed);
  if (!rules_->allowed.empty()) keep_only(adjusted_, rules_->allowed);
  forbid(adjusted_, mask.forbidden);
  forbid_sequences(adjusted_, rules_->forbidden, generated_);
  add_bias(adjusted_, rules_->biases);
  if (options_.repetition_penalty != 1) {
    penalise_repetition(adjusted_, counts_, options_.repetition_penalty);
  }
  if (options_.presence_penalty != 0 || options_.frequency_penalty != 0) {
    penalise_use(adjusted_, counts_, options_.frequency_penalty, options_.presence_penalty);
  }
  return adjusted_;
}

std::optional<uint32_t> Sampler::sample(std::span<const float> logits, const DrawLimits& mask) {
  if (adjusts(mask)) logits = adjust(logits, mask);
  const uint32_t first = argmax(logits);
  const float best = logits[first];
  if (best == -std::numeric_limits<float>::infinity()) return std::nullopt;
  const uint32_t token = options_.temperature <= 0 ? first : draw(logits, best);
  if (penalises()) ++counts_[token];
  if (!rules_->forbidden.empty()) generated_.push_back(token);
  return token;
}

uint32_t Sampler::draw(std::span<const float> logits, float best) {
  gather(logits, best);
  if (options_.top_k > 0 && options_.top_k < candidates_.size()) keep_top_k();
  const double scale = 1.0 / options_.temperature;
  for (Candidate& candidate : candidates_) {
    candidate.weight = static_cast<float>(std::exp((candidate.weight - best) * scale));
  }
  if (options_.typical_p < 1) keep_typical();
  if (options_.top_p < 1) keep_first(options_.top_p, better);
  if (options_.min_p > 0) keep_min_p();
  return pick();
}

// All tokens that have a chance, by id: nothing is sorted before it must be.
void Sampler::gather(std::span<const float> logits, float best) {
  // A token this far below the best has none worth counting: e^-40 is 4e-18.
  const auto cutoff = static_cast<float>(best - 40.0 * options_.temperature);
  candidates_.clear();
  for (uint32_t token = 0; token < logits.size(); ++token) {
    if (logits[token] >= cutoff) candidates_.push_back({logits[token], token, 0});
  }
}

void Sampler::keep_top_k() {
  std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(),
                   better);
  candidates_.resize(options_.top_k);
  std::sort(candidates_.begin(), candidates_.end(), better);  // the same order on every machine
}

double Sampler::total() const {
  double sum = 0;
  for (const Candidate& candidate : candidates_) sum += candidate.weight;
  return sum;
}

// Keeps the fewest of those that come first whose weights reach a share of all. They mostly are
// few, and a heap finds those in the time of one pass; the rest is sorted when they are not.
template <typename Before>
void Sampler::keep_first(double share, const Before& before) {
  constexpr size_t kFew = 1024;
  const double wanted = share * total();
  const auto later = [&](const Candidate& a, const Candidate& b) { return before(b, a); };
  const auto begin = candidates_.begin();
  auto kept = candidates_.end();
  std::make_heap(begin, kept, later);
  double sum = 0;
  for (size_t count = 0; kept != begin && (count == 0 || sum < wanted); ++count) {
    if (count < kFew) std::pop_heap(begin, kept, later);
    if (count == kFew) std::sort(begin, kept, later);
    --kept;
    sum += kept->weight;
  }
  candidates_.erase(begin, kept);
}

// Meister et al., Locally typical sampling (2022): the fewest tokens, those first whose surprise is
// nearest to the expected one, whose probabilities reach typical_p.
void Sampler::keep_typical() {
  const double all = total();
  double entropy = 0;
  for (const Candidate& candidate : candidates_) {
    const double p = candidate.weight / all;
    if (p > 0) entropy -= p * std::log(p);
  }
  for (Candidate& candidate : candidates_) {
    candidate.oddity = static_cast<float>(std::fabs(-std::log(candidate.weight / all) - entropy));
  }
  keep_first(options_.typical_p, [](const Candidate& a, const Candidate& b) {
    return a.oddity != b.oddity ? a.oddity < b.oddity : a.token < b.token;
  });
}

void Sampler::keep_min_p() {
  float best = 0;
  for (const Candidate& candidate : candidates_) best = std::max(best, candidate.weight);
  const double least = options_.min_p * best;
  std::erase_if(candidates_, [&](const Candidate& candidate) {
    return candidate.weight < least && candidate.weight < best;
  });
}

uint32_t Sampler::pick() {
  double left = uniform() * total();
  for (size_t i = 0; i + 1 < candidates_.size(); ++i) {
    left -= candidates_[i].weight;
    if (left < 0) return candidates_[i].token;
  }
  return candidates_.back().token;
}

}  // namespace skvis
