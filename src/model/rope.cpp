// SPDX-License-Identifier: Apache-2.0
#include "model/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace skvis {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

// Wavelengths above original_context / low_freq_factor are stretched, those below
// original_context / high_freq_factor are kept.
double llama3_frequency(const RopeScaling& scaling, double frequency) {
  const double context = static_cast<double>(scaling.original_context);
  const double turns = context * frequency / kTwoPi;  // within the original context
  if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
  if (turns > scaling.high_freq_factor) return frequency;
  const double kept =
      (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1.0 - kept) * frequency / scaling.factor + kept * frequency;
}

// The dimension (a real number) that turns `rotations` times within the original context.
double yarn_dimension(const ModelConfig& config, double rotations) {
  const double context = static_cast<double>(config.rope_scaling.original_context);
  return static_cast<double>(config.head_dim) * std::log(context / (rotations * kTwoPi)) /
         (2.0 * std::log(config.rope_theta));
}

void stretch_yarn(const ModelConfig& config, std::vector<double>& frequencies) {
  const RopeScaling& scaling = config.rope_scaling;
  double low = yarn_dimension(config, scaling.beta_fast);
  double high = yarn_dimension(config, scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim) - 1.0);
  if (low == high) high += 0.001;  // a step instead of a ramp, as the published code has it
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / scaling.factor * ramp + frequencies[i] * (1.0 - ramp);
  }
}

}  // namespace

RotaryTable make_rotary_table(const ModelConfig& config) {
  RotaryTable table;
  std::vector<double>& frequencies = table.inverse_frequency;
  frequencies.resize(config.head_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    frequencies[i] = std::pow(config.rope_theta, -exponent);
  }
  switch (config.rope_scaling.kind) {
    case RopeScaling::Kind::kNone:
      break;
    case RopeScaling::Kind::kLinear:
      for (double& frequency : frequencies) frequency /= config.rope_scaling.factor;
      break;
    case RopeScaling::Kind::kLlama3:
      for (double& frequency : frequencies) {
        frequency = llama3_frequency(config.rope_scaling, frequency);
      }
      break;
    case RopeScaling::Kind::kYarn:
      stretch_yarn(config, frequencies);
      break;
  }
  for (size_t i = 0; i < config.rope_frequency_factors.size() && i < frequencies.size(); ++i) {
    frequencies[i] /= static_cast<double>(config.rope_frequency_factors[i]);
  }
  table.scale = rope_attention_factor(config.rope_scaling);
  return table;
}

}  // namespace skvis
