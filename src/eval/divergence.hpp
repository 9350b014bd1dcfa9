// SPDX-License-Identifier: Apache-2.0
// What one row of logits says of the token that follows, and how far two rows are apart. In double,
// natural logarithms.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace skvis {

// log(sum(exp(logits)))
double log_sum_exp(std::span<const float> logits);

// A row of the baseline, which others are compared with.
struct ReferenceRow {
  std::span<const float> logits;  // not owned
  std::vector<double> probabilities;
  double log_sum = 0;
  uint32_t best = 0;  // the most probable token

  static ReferenceRow of(std::span<const float> logits);
};

struct RowLoss {
  double nll = 0;         // of the token that followed
  double divergence = 0;  // KL(reference || this row), in nats
  bool same_best = true;
  double probability = 0;  // of the token that followed
};
// `logits` are as many as the reference's; `next` is one of them.
RowLoss row_loss(const ReferenceRow& reference, std::span<const float> logits, uint32_t next);

}  // namespace skvis
