// SPDX-License-Identifier: Apache-2.0
// A decoder computed in float64 straight from config.json and the tensors, by the published
// equations and with nothing shared with src/model: the oracle for models that come without
// goldens.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "formats/model_files.hpp"

namespace skvis::testing {

class Float64Model {
 public:
  Float64Model(const Json& config, const ModelFiles& files) : config_(config), files_(files) {
    hidden_ = config["hidden_size"];
    heads_ = config["num_attention_heads"];
    kv_heads_ = config["num_key_value_heads"];
    dim_ = config["head_dim"];
    set_frequencies();
  }

  // [tokens * vocab]
  std::vector<double> logits(const std::vector<int32_t>& ids) {
    Rows x;
    for (const int32_t id : ids) {
      const std::vector<double> table = tensor("model.embed_tokens.weight");
      const auto row = table.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(id) * hidden_);
      x.emplace_back(row, row + static_cast<ptrdiff_t>(hidden_));
    }
    const size_t layers = config_["num_hidden_layers"];
    for (size_t layer = 0; layer < layers; ++layer) run_layer(layer, x);
    const std::vector<double> norm = tensor("model.norm.weight");
    const bool tied = config_.value("tie_word_embeddings", false);
    std::vector<double> all;
    for (const Row& row : x) {
      const Row out = product(tied ? "model.embed_tokens" : "lm_head", rms_norm(row, norm));
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  }

 private:
  using Row = std::vector<double>;
  using Rows = std::vector<Row>;

  Row tensor(const std::string& name) const {
    const Result<TensorView> view = files_.tensor(name);
    if (!view) return {};
    std::vector<float> values(view->rows() * view->columns());
    dequantize_rows(*view, 0, view->rows(), values.data());
    return {values.begin(), values.end()};
  }

  Row product(const std::string& name, const Row& x) const {
    const Row w = tensor(name + ".weight");
    Row out = tensor(name + ".bias");
    out.resize(w.size() / x.size(), 0.0);
    for (size_t f = 0; f < out.size(); ++f) {
      for (size_t k = 0; k < x.size(); ++k) out[f] += w[f * x.size() + k] * x[k];
    }
    return out;
  }

  Row rms_norm(const Row& x, const Row& weight) const {
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double eps = config_["rms_norm_eps"];
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
    Row out;
    for (size_t i = 0; i < x.size(); ++i) out.push_back(x[i] * scale * weight[i]);
    return out;
  }

  // RoFormer's frequencies; position interpolation; Llama 3.1's piecewise rule; YaRN's ramp over
  // dimensions found from rotation counts.
  void set_frequencies() {
    const double theta = config_["rope_theta"];
    const double d = static_cast<double>(dim_);
    for (size_t i = 0; i < dim_ / 2; ++i) {
      frequency_.push_back(1.0 / std::pow(theta, 2.0 * static_cast<double>(i) / d));
    }
    if (!config_.contains("rope_scaling")) return;
    const Json& rope = config_["rope_scaling"];
    const std::string type = rope["rope_type"];
    const double factor = rope["factor"];
    const double tau = 2 * std::numbers::pi;
    if (type == "linear") {
      for (double& f : frequency_) f /= factor;
    } else if (type == "llama3") {
      const double context = rope["original_max_position_embeddings"];
      const double low = rope["low_freq_factor"], high = rope["high_freq_factor"];
      for (double& f : frequency_) {
        const double wavelength = tau / f;
        if (wavelength < context / high) continue;
        if (wavelength > context / low) {
          f /= factor;
          continue;
        }
        const double smooth = (context / wavelength - low) / (high - low);
        f = (1 - smooth) * f / factor + smooth * f;
      }
    } else if (type == "yarn") {
      const double context = rope["original_max_position_embeddings"];
      const auto dimension = [&](double rotations) {
        return d * std::log(context / (rotations * tau)) / (2 * std::log(theta));
      };
      double low = dimension(rope.value("beta_fast", 32.0));
      double high = dimension(rope.value("beta_slow", 1.0));
      if (rope.value("truncate", true)) low = std::floor(low), high = std::ceil(high);
      low = std::max(low, 0.0);
      high = std::min(high, d - 1);
      for (size_t i = 0; i < frequency_.size(); ++i) {
        const double gamma =
            1 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        frequency_[i] = (1 - gamma) * frequency_[i] / factor + gamma * frequency_[i];
      }
      scale_ = rope.value("attention_factor", 0.1 * std::log(factor) + 1.0);
    }
  }

  void rotate(double* x, size_t position) const {
    for (size_t i = 0; i < dim_ / 2; ++i) {
      const double angle = static_cast<double>(position) * frequency_[i];
      const double a = x[i], b = x[i + dim_ / 2];
      x[i] = scale_ * (a * std::cos(angle) - b * std::sin(angle));
      x[i + dim_ / 2] = scale_ * (b * std::cos(angle) + a * std::sin(angle));
    }
  }

  void norm_heads(Row& x, const std::string& name) const {
    const Row weight = tensor(name);
    if (weight.empty()) return;
    for (size_t head = 0; head * dim_ < x.size(); ++head) {
      const auto begin = x.begin() + static_cast<ptrdiff_t>(head * dim_);
      const Row normed = rms_norm(Row(begin, begin + static_cast<ptrdiff_t>(dim_)), weight);
      std::copy(normed.begin(), normed.end(), begin);
    }
  }

  bool slides(size_t layer) const {
    if (!config_.contains("sliding_window") || config_["sliding_window"].is_null()) return false;
    if (!config_.contains("layer_types")) return true;
    return config_["layer_types"][layer] == "sliding_attention";
  }

  Row attend(size_t layer, size_t t, const Row& q, const Rows& keys, const Rows& values) const {
    size_t first = 0;
    if (slides(layer)) {
      const size_t window = config_["sliding_window"];
      if (t + 1 > window) first = t + 1 - window;
    }
    Row out(heads_ * dim_, 0.0);
    for (size_t head = 0; head < heads_; ++head) {
      const size_t kv = head * kv_heads_ / heads_ * dim_;
      Row weights;
      double total = 0;
      for (size_t s = first; s <= t; ++s) {
        double dot = 0;
        for (size_t i = 0; i < dim_; ++i) dot += q[head * dim_ + i] * keys[s][kv + i];
        weights.push_back(std::exp(dot / std::sqrt(static_cast<double>(dim_))));
        total += weights.back();
      }
      for (size_t s = first; s <= t; ++s) {
        for (size_t i = 0; i < dim_; ++i) {
          out[head * dim_ + i] += weights[s - first] / total * values[s][kv + i];
        }
      }
    }
    return out;
  }

  void run_layer(size_t layer, Rows& x) const {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const std::string attention = prefix + "self_attn.";
    const Row norm = tensor(prefix + "input_layernorm.weight");
    Rows queries, keys, values;
    for (size_t t = 0; t < x.size(); ++t) {
      const Row normed = rms_norm(x[t], norm);
      queries.push_back(product(attention + "q_proj", normed));
      keys.push_back(product(attention + "k_proj", normed));
      values.push_back(product(attention + "v_proj", normed));
      norm_heads(queries[t], attention + "q_norm.weight");
      norm_heads(keys[t], attention + "k_norm.weight");
      for (size_t h = 0; h < heads_; ++h) rotate(queries[t].data() + h * dim_, t);
      for (size_t h = 0; h < kv_heads_; ++h) rotate(keys[t].data() + h * dim_, t);
    }
    const Row mlp_norm = tensor(prefix + "post_attention_layernorm.weight");
    for (size_t t = 0; t < x.size(); ++t) {
      add(product(attention + "o_proj", attend(layer, t, queries[t], keys, values)), x[t]);
      const Row normed = rms_norm(x[t], mlp_norm);
      Row gate = product(prefix + "mlp.gate_proj", normed);
      const Row up = product(prefix + "mlp.up_proj", normed);
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      add(product(prefix + "mlp.down_proj", gate), x[t]);
    }
  }

  static void add(const Row& more, Row& x) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += more[i];
  }

  const Json& config_;
  const ModelFiles& files_;
  size_t hidden_ = 0;
  size_t heads_ = 0;
  size_t kv_heads_ = 0;
  size_t dim_ = 0;
  Row frequency_;
  double scale_ = 1.0;
};

}  // namespace skvis::testing
