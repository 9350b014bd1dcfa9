// SPDX-License-Identifier: Apache-2.0
#include "eval/gate_fit.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <random>

namespace skvis {
namespace {

constexpr size_t kW = kGateWidth;
constexpr float kEpsilon = 1e-6f;  // of RMSNorm, as the selector has it
constexpr float kLargest = 60;     // exponents; a sum of such is finite
constexpr float kLeast = 1e-4f;    // scores nearer to 0 or 1 count as so far away

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMap = Eigen::Map<const Matrix>;
using Map = Eigen::Map<Matrix>;

float dot(const float* a, const float* b) {
  float sum = 0;
  for (size_t c = 0; c < kW; ++c) sum += a[c] * b[c];
  return sum;
}

// y = w u / r with r the root of the mean square.
struct Norm {
  float inverse = 0;                // 1 / r
  std::array<float, kW> unit = {};  // u / r
  std::array<float, kW> y = {};

  Norm(const float* u, const float* bias, const float* weights) {
    for (size_t c = 0; c < kW; ++c) unit[c] = u[c] + (bias != nullptr ? bias[c] : 0.0f);
    inverse = 1.0f / std::sqrt(dot(unit.data(), unit.data()) / kW + kEpsilon);
    for (size_t c = 0; c < kW; ++c) {
      unit[c] *= inverse;
      y[c] = unit[c] * weights[c];
    }
  }
  // From dL/dy: adds dL/dw, writes dL/du = (w dy - unit mean(unit w dy)) / r.
  void backward(const float* dy, const float* weights, float* dw, float* du) const {
    std::array<float, kW> scaled;
    for (size_t c = 0; c < kW; ++c) {
      dw[c] += dy[c] * unit[c];
      scaled[c] = dy[c] * weights[c];
    }
    const float along = dot(scaled.data(), unit.data()) / kW;
    for (size_t c = 0; c < kW; ++c) du[c] = (scaled[c] - unit[c] * along) * inverse;
  }
};

}  // namespace

// One head's answer for one row, and what its gradient needs again.
struct GateLayer::HeadPass {
  struct OfQuery {
    Norm query;
    std::array<float, kGateAnchors> p;
    float gate;
  };
  Norm key;
  std::vector<OfQuery> of_queries;
  float score = 0;
};

GateLayer::GateLayer(const GateShape& shape, uint32_t seed)
    : shape_(shape), parameters_(shape.parameters(), 0.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.hidden));
  for (size_t i = 0; i < shape.query_bias(); ++i) parameters_[i] = normal(random) * scale;
  std::fill_n(parameters_.begin() + static_cast<ptrdiff_t>(shape.query_norm()), 2 * kW, 1.0f);
  for (size_t i = shape.anchors(); i < shape.bias(); ++i) parameters_[i] = normal(random);
  const float middle = std::log(static_cast<float>(kGateAnchors));
  std::fill(parameters_.begin() + static_cast<ptrdiff_t>(shape.bias()), parameters_.end(), middle);
}

// With e_s = a_s q / 4 - k q / 4 - b: gate = 1 / (1 + sum exp e_s), p_s = gate exp e_s.
GateLayer::HeadPass GateLayer::pass(const float* projected, size_t head) const {
  const size_t group = shape_.group;
  const float* all = parameters_.data();
  const float* anchors = all + shape_.anchors() + head * kGateAnchors * kW;
  HeadPass pass{.key = Norm(projected + group * kW, nullptr, all + shape_.key_norm()),
                .of_queries = {}};
  for (size_t g = 0; g < group; ++g) {
    const float* bias = all + shape_.query_bias() + (head * group + g) * kW;
    HeadPass::OfQuery of{Norm(projected + g * kW, bias, all + shape_.query_norm()), {}, 0};
    const float* q = of.query.y.data();
    const float own = dot(pass.key.y.data(), q) / 4 + all[shape_.bias() + head * group + g];
    float sum = 1;
    for (size_t s = 0; s < kGateAnchors; ++s) {
      of.p[s] = std::exp(std::min(dot(anchors + s * kW, q) / 4 - own, kLargest));
      sum += of.p[s];
    }
    of.gate = 1.0f / sum;
    for (float& p : of.p) p /= sum;
    pass.score += of.gate / static_cast<float>(group);
    pass.of_queries.push_back(of);
  }
  return pass;
}

// d gate / d e_s = -gate p_s, and the p_s add up to 1 - gate. `of_score`: the loss by the score.
// Adds to the layer's gradient; writes that of the projections [group + 1, 16].
void GateLayer::backward(const HeadPass& pass, size_t head, float of_score, float* gradient,
                         float* of_projected) const {
  const size_t group = shape_.group;
  const float* all = parameters_.data();
  const float* anchors = all + shape_.anchors() + head * kGateAnchors * kW;
  std::array<float, kW> dk = {};
  for (size_t g = 0; g < group; ++g) {
    const HeadPass::OfQuery& of = pass.of_queries[g];
    const float* q = of.query.y.data();
    const float slope = of_score / static_cast<float>(group) * of.gate;
    const float rest = slope * (1 - of.gate);
    std::array<float, kW> dq;
    for (size_t c = 0; c < kW; ++c) {
      dq[c] = rest * pass.key.y[c] / 4;
      dk[c] += rest * q[c] / 4;
    }
    for (size_t a = 0; a < kGateAnchors; ++a) {
      const float weight = slope * of.p[a] / 4;
      float* da = gradient + shape_.anchors() + (head * kGateAnchors + a) * kW;
      for (size_t c = 0; c < kW; ++c) {
        dq[c] -= weight * anchors[a * kW + c];
        da[c] -= weight * q[c];
      }
    }
    gradient[shape_.bias() + head * group + g] += rest;
    float* du = of_projected + g * kW;
    of.query.backward(dq.data(), all + shape_.query_norm(), gradient + shape_.query_norm(), du);
    float* db = gradient + shape_.query_bias() + (head * group + g) * kW;
    for (size_t c = 0; c < kW; ++c) db[c] += du[c];
  }
  pass.key.backward(dk.data(), all + shape_.key_norm(), gradient + shape_.key_norm(),
                    of_projected + group * kW);
}

void GateLayer::score(std::span<const float> inputs, std::span<float> scores) const {
  const auto rows = static_cast<Eigen::Index>(inputs.size() / shape_.hidden);
  const auto hidden = static_cast<Eigen::Index>(shape_.hidden);
  const auto width = static_cast<Eigen::Index>(shape_.projection_rows());
  const ConstMap weights(parameters_.data(), width, hidden);
  const Matrix projected = ConstMap(inputs.data(), rows, hidden) * weights.transpose();
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    for (size_t head = 0; head < shape_.heads; ++head) {
      const float* of_head =
          projected.data() + row * shape_.projection_rows() + head * (shape_.group + 1) * kW;
      scores[row * shape_.heads + head] = pass(of_head, head).score;
    }
  }
}

double GateLayer::loss(std::span<const float> inputs, std::span<const float> targets,
                       std::span<float> gradient) const {
  const auto rows = static_cast<Eigen::Index>(inputs.size() / shape_.hidden);
  const auto hidden = static_cast<Eigen::Index>(shape_.hidden);
  const auto width = static_cast<Eigen::Index>(shape_.projection_rows());
  const ConstMap x(inputs.data(), rows, hidden);
  const Matrix projected = x * ConstMap(parameters_.data(), width, hidden).transpose();
  Matrix of_projected(rows, width);
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  const auto count = static_cast<double>(targets.size());
  double sum = 0;
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    for (size_t head = 0; head < shape_.heads; ++head) {
      const size_t offset = row * shape_.projection_rows() + head * (shape_.group + 1) * kW;
      const HeadPass of_head = pass(projected.data() + offset, head);
      const float target = targets[row * shape_.heads + head];
      const float s = std::clamp(of_head.score, kLeast, 1 - kLeast);
      sum -= target * std::log(s) + (1 - target) * std::log(1 - s);
      const float of_score = (s - target) / (s * (1 - s)) / static_cast<float>(count);
      backward(of_head, head, of_score, gradient.data(), of_projected.data() + offset);
    }
  }
  Map(gradient.data(), width, hidden).noalias() = of_projected.transpose() * x;
  return sum / count;
}

void Adam::step(std::span<float> parameters, std::span<const float> gradient, double rate) {
  constexpr float kMean = 0.9f, kSquare = 0.999f, kEps = 1e-8f;
  ++steps_;
  const double mean_part = 1 - std::pow(double{kMean}, steps_);
  const double square_part = 1 - std::pow(double{kSquare}, steps_);
  const auto factor = static_cast<float>(rate / mean_part);
  const auto root = static_cast<float>(1 / std::sqrt(square_part));
  for (size_t i = 0; i < parameters.size(); ++i) {
    mean_[i] = kMean * mean_[i] + (1 - kMean) * gradient[i];
    square_[i] = kSquare * square_[i] + (1 - kSquare) * gradient[i] * gradient[i];
    parameters[i] -= factor * mean_[i] / (std::sqrt(square_[i]) * root + kEps);
  }
}

NamedTensors gate_tensors(std::span<const GateLayer> layers) {
  const GateShape& shape = layers.front().shape();
  const size_t count = layers.size();
  NamedTensors tensors;
  const auto gather = [&](const char* name, size_t begin, size_t end, std::vector<size_t> rest) {
    NamedTensor& tensor = tensors[name];
    tensor.shape = {count};
    tensor.shape.insert(tensor.shape.end(), rest.begin(), rest.end());
    for (const GateLayer& layer : layers) {
      const auto part = layer.parameters().subspan(begin, end - begin);
      tensor.values.insert(tensor.values.end(), part.begin(), part.end());
    }
  };
  const size_t heads = shape.heads, group = shape.group;
  gather("gate.projection", 0, shape.query_bias(), {heads, (group + 1) * kW, shape.hidden});
  gather("gate.query_bias", shape.query_bias(), shape.query_norm(), {heads, group, kW});
  gather("gate.query_norm", shape.query_norm(), shape.key_norm(), {kW});
  gather("gate.key_norm", shape.key_norm(), shape.anchors(), {kW});
  gather("gate.anchors", shape.anchors(), shape.bias(), {heads, kGateAnchors, kW});
  gather("gate.bias", shape.bias(), shape.parameters(), {heads, group});
  return tensors;
}

}  // namespace skvis
