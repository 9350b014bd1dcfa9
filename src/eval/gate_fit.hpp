// SPDX-License-Identifier: Apache-2.0
// The gate of one layer (selectors/gate.cpp says what it computes) as something that can be fitted:
// its loss on rows with wanted scores, the loss's gradient, Adam. The gradient is written out by
// hand; nothing goes through the model, whose attention inputs are given.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/half.hpp"
#include "kv/tensors.hpp"

namespace skvis {

inline constexpr size_t kGateWidth = 16;
inline constexpr size_t kGateAnchors = 16;

struct GateShape {
  size_t heads = 0;  // KV heads of the layer
  size_t group = 0;  // query heads of each
  size_t hidden = 0;

  size_t projection_rows() const { return heads * (group + 1) * kGateWidth; }
  // Where each tensor begins among the parameters, in this order.
  size_t projection() const { return 0; }                           // [rows, hidden]
  size_t query_bias() const { return projection_rows() * hidden; }  // [heads, group, 16]
  size_t query_norm() const { return query_bias() + heads * group * kGateWidth; }  // [16]
  size_t key_norm() const { return query_norm() + kGateWidth; }                    // [16]
  size_t anchors() const { return key_norm() + kGateWidth; }                     // [heads, 16, 16]
  size_t bias() const { return anchors() + heads * kGateAnchors * kGateWidth; }  // [heads, group]
  size_t parameters() const { return bias() + heads * group; }
};

class GateLayer {
 public:
  // Random projections and anchors, by the seed alone; every score is near one half.
  GateLayer(const GateShape& shape, uint32_t seed);

  const GateShape& shape() const { return shape_; }
  std::span<float> parameters() { return parameters_; }
  std::span<const float> parameters() const { return parameters_; }

  // inputs [rows, hidden], scores [rows, heads].
  void score(std::span<const float> inputs, std::span<float> scores) const;
  // Mean over rows and heads of the cross entropy of score and target, both between 0 and 1, and
  // its gradient [parameters]. targets [rows, heads].
  double loss(std::span<const float> inputs, std::span<const float> targets,
              std::span<float> gradient) const;

 private:
  struct HeadPass;
  HeadPass pass(const float* projected, size_t head) const;
  void backward(const HeadPass& pass, size_t head, float of_score, float* gradient,
                float* of_projected) const;

  GateShape shape_;
  std::vector<float> parameters_;
};

// Adam (Kingma and Ba, 2015) with its usual decay rates.
class Adam {
 public:
  explicit Adam(size_t parameters) : mean_(parameters), square_(parameters) {}
  void step(std::span<float> parameters, std::span<const float> gradient, double rate);

 private:
  std::vector<float> mean_;
  std::vector<float> square_;
  uint32_t steps_ = 0;
};

// The layers of a model as the tensors that selector `gate` reads.
NamedTensors gate_tensors(std::span<const GateLayer> layers);

}  // namespace skvis
