// SPDX-License-Identifier: Apache-2.0
// Attention as it is defined, and nothing else: rows kept in F32, softmax and sums in double. The
// independent reference behind the tests of models and of the real cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "attention/layer_cache.hpp"

namespace skvis::testing {

class PlainAttention final : public LayerCache {
 public:
  explicit PlainAttention(CacheShape shape, size_t sequences = 1)
      : shape_(std::move(shape)), sequences_(sequences) {
    for (Sequence& sequence : sequences_) {
      sequence.keys.resize(shape_.layers);
      sequence.values.resize(shape_.layers);
    }
  }

  // The rows of the next step: row i belongs to sequence owners[i], behind its earlier rows.
  void begin(std::vector<size_t> owners) {
    owners_ = std::move(owners);
    positions_.clear();
    for (const size_t owner : owners_) positions_.push_back(sequences_[owner].length++);
  }

  void attend(const LayerInput& input, float* out) override {
    const size_t dim = shape_.head_dim;
    const size_t q_width = shape_.query_heads * dim;
    const size_t kv_width = shape_.kv_heads * dim;
    std::vector<float> angles(dim);
    std::vector<float> q(dim);
    for (size_t row = 0; row < owners_.size(); ++row) {
      Sequence& sequence = sequences_[owners_[row]];
      std::vector<float>& keys = sequence.keys[input.layer];
      std::vector<float>& values = sequence.values[input.layer];
      rotary_angles(*input.rotary, static_cast<uint32_t>(positions_[row]), angles.data());
      keys.resize(keys.size() + kv_width);
      for (size_t head = 0; head < shape_.kv_heads; ++head) {
        rotate_row(input.k + row * kv_width + head * dim, angles.data(), dim / 2,
                   keys.data() + keys.size() - kv_width + head * dim);
      }
      values.insert(values.end(), input.v + row * kv_width, input.v + (row + 1) * kv_width);
      for (size_t head = 0; head < shape_.query_heads; ++head) {
        rotate_row(input.q + row * q_width + head * dim, angles.data(), dim / 2, q.data());
        attend_head(input.layer, sequence, positions_[row], head / shape_.group_size(), q,
                    out + row * q_width + head * dim);
      }
    }
  }

 private:
  struct Sequence {
    size_t length = 0;
    std::vector<std::vector<float>> keys;  // [layer][length, kv_heads, head_dim], rotated
    std::vector<std::vector<float>> values;
  };

  void attend_head(size_t layer, const Sequence& sequence, size_t position, size_t kv_head,
                   const std::vector<float>& q, float* out) const {
    const size_t dim = shape_.head_dim;
    const size_t window = shape_.window[layer];
    const size_t first = window != 0 && position + 1 > window ? position + 1 - window : 0;
    std::vector<double> logits;
    for (size_t t = first; t <= position; ++t) {
      const float* key = sequence.keys[layer].data() + (t * shape_.kv_heads + kv_head) * dim;
      double dot = 0;
      for (size_t i = 0; i < dim; ++i) dot += static_cast<double>(q[i]) * key[i];
      logits.push_back(dot * shape_.attention_scale);
    }
    const double top = *std::max_element(logits.begin(), logits.end());
    std::vector<double> sum(dim, 0.0);
    double total = 0;
    for (size_t t = first; t <= position; ++t) {
      const double weight = std::exp(logits[t - first] - top);
      const float* value = sequence.values[layer].data() + (t * shape_.kv_heads + kv_head) * dim;
      total += weight;
      for (size_t i = 0; i < dim; ++i) sum[i] += weight * value[i];
    }
    for (size_t i = 0; i < dim; ++i) out[i] = static_cast<float>(sum[i] / total);
  }

  CacheShape shape_;
  std::vector<Sequence> sequences_;
  std::vector<size_t> owners_;     // [rows of the step]
  std::vector<size_t> positions_;  // [rows of the step]
};

}  // namespace skvis::testing
