// SPDX-License-Identifier: Apache-2.0
#include "attention/observation.hpp"

#include "attention/statistics.hpp"

namespace skvis {

void add_query_moments(const ObservedSlice& slice) {
  const CacheLayout& layout = slice.sequence->layout();
  const size_t head_dim = layout.shape().head_dim;
  const uint32_t from = layout.needs().moments_from;
  float* moments = slice.sequence->query_moments(slice.head);
  float deviation[kMaxHeadDim];
  for (uint32_t g = 0; g < layout.shape().group_size(); ++g) {
    float* mean = moments + g * layout.moment_floats();
    for (uint32_t row = 0; row < slice.rows; ++row) {
      if (slice.position + row < from) continue;
      const auto count = static_cast<float>(slice.position + row - from + 1);
      const float* q = slice.raw_q + row * slice.q_stride + g * head_dim;
      for (size_t c = 0; c < head_dim; ++c) {
        deviation[c] = q[c] - mean[c];
        mean[c] += deviation[c] / count;
      }
      const float factor = (count - 1) / count;
      float* scatter = mean + head_dim;
      for (size_t i = 0; i < head_dim; ++i) {
        const float scaled = factor * deviation[i];
        for (size_t j = i; j < head_dim; ++j) scatter[j - i] += scaled * deviation[j];
        scatter += head_dim - i;
      }
    }
  }
}

void add_totals(const kernels::Kernels& kernels, const ObservedSlice& slice) {
  const CacheLayout& layout = slice.sequence->layout();
  const size_t group = layout.shape().group_size();
  const size_t head_dim = layout.shape().head_dim;
  const HeadKeys keys(*slice.sequence, slice.head, slice.position + slice.rows);
  const size_t count = keys.rows().size();
  std::vector<float*> targets;
  std::vector<float> sums;
  for (const LiveRow& row : keys.rows()) {
    targets.push_back(row_state(*slice.sequence, slice.head, row));
    sums.push_back(*targets.back());
  }
  std::vector<float> q(HeadKeys::kTogether * group * head_dim);
  std::vector<float> probabilities(HeadKeys::kTogether * group * keys.stride());
  std::vector<HeadKeys::Range> sees;
  for (uint32_t row = 0; row < slice.rows; ++row) {
    std::copy_n(slice.q + row * slice.q_stride, group * head_dim,
                q.data() + sees.size() * group * head_dim);
    sees.push_back({0, slice.block_end > 0 ? slice.block_end : slice.position + row + 1});
    if (sees.size() < HeadKeys::kTogether && row + 1 < slice.rows) continue;
    keys.probabilities(kernels, {q.data(), sees, nullptr}, probabilities.data());
    keys.add_columns(kernels, probabilities.data(), sees.size(), GroupReduce::mean, sums);
    sees.clear();
  }
  for (size_t i = 0; i < count; ++i) *targets[i] = sums[i];
}

}  // namespace skvis
