// SPDX-License-Identifier: Apache-2.0
#include "eval/divergence.hpp"

#include <algorithm>
#include <cmath>

#include "engine/sampler.hpp"

namespace skvis {

double log_sum_exp(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum);
}

ReferenceRow ReferenceRow::of(std::span<const float> logits) {
  ReferenceRow row{.logits = logits, .log_sum = log_sum_exp(logits), .best = argmax(logits)};
  row.probabilities.reserve(logits.size());
  for (const float logit : logits) row.probabilities.push_back(std::exp(logit - row.log_sum));
  return row;
}

RowLoss row_loss(const ReferenceRow& reference, std::span<const float> logits, uint32_t next) {
  const double log_sum = log_sum_exp(logits);
  // sum p (ln p - ln q), with ln p - ln q = (logit_p - log_sum_p) - (logit_q - log_sum_q).
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    sum += reference.probabilities[i] * (double{reference.logits[i]} - logits[i]);
  }
  RowLoss loss;
  loss.nll = log_sum - logits[next];
  loss.divergence = std::max(0.0, sum + log_sum - reference.log_sum);
  loss.same_best = argmax(logits) == reference.best;
  loss.probability = std::exp(-loss.nll);
  return loss;
}

}  // namespace skvis
