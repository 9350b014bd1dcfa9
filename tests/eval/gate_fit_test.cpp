// SPDX-License-Identifier: Apache-2.0
#include "eval/gate_fit.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "eval/calibrate_gate.hpp"
#include "selectors/selector.hpp"

namespace skvis {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;

constexpr GateShape kShape = {.heads = 2, .group = 3, .hidden = 16};

std::vector<float> normal_values(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Parameters as a fit might leave them: nothing is 0 or 1.
GateLayer some_gate(uint32_t seed) {
  GateLayer gate(kShape, seed);
  const auto noise = normal_values(kShape.parameters(), seed + 100);
  for (size_t i = 0; i < noise.size(); ++i) gate.parameters()[i] += 0.2f * noise[i];
  return gate;
}

TEST(GateFit, a_new_gate_says_one_half_to_everything_or_nearly_so) {
  const GateLayer gate(kShape, 1);
  std::vector<float> scores(64 * kShape.heads);
  gate.score(normal_values(64 * kShape.hidden, 2), scores);
  double sum = 0;
  for (const float score : scores) {
    EXPECT_GT(score, 0.01);
    EXPECT_LT(score, 0.99);
    sum += score / static_cast<double>(scores.size());
  }
  EXPECT_NEAR(sum, 0.5, 0.15);
}

TEST(GateFit, it_scores_as_the_selector_does) {
  const std::vector<GateLayer> layers = {some_gate(1), some_gate(2)};
  const NamedTensors data = gate_tensors(layers);
  const CacheShape shape{.layers = 2,
                         .query_heads = 6,
                         .kv_heads = 2,
                         .head_dim = 8,
                         .hidden_size = static_cast<uint32_t>(kShape.hidden)};
  const Selector& selector = *find_selector("gate");
  ASSERT_TRUE(selector.check_data(data, shape).ok());
  const auto inputs = normal_values(10 * kShape.hidden, 3);
  for (uint32_t layer = 0; layer < 2; ++layer) {
    std::vector<float> scores(10 * kShape.heads);
    layers[layer].score(inputs, scores);
    for (uint32_t row = 0; row < 10; ++row) {
      for (uint32_t head = 0; head < 2; ++head) {
        float state = NAN;
        selector.observe({}, &data,
                         {.id = {layer, head},
                          .group_size = 3,
                          .hidden = std::span(inputs).subspan(row * kShape.hidden, kShape.hidden)},
                         &state);
        EXPECT_NEAR(scores[row * 2 + head], state, 1e-5);
      }
    }
  }
}

TEST(GateFit, the_gradient_is_that_of_finite_differences) {
  GateLayer gate = some_gate(4);
  const auto inputs = normal_values(5 * kShape.hidden, 5);
  std::vector<float> targets;
  for (const float x : normal_values(5 * kShape.heads, 6)) targets.push_back(1 / (1 + std::exp(x)));
  std::vector<float> gradient(kShape.parameters()), unused(kShape.parameters());
  gate.loss(inputs, targets, gradient);
  // The loss is a sum in double of terms in float: differences of 1e-7 or so are noise.
  constexpr float kStep = 0.01f;
  const std::vector<std::pair<size_t, size_t>> tensors = {
      {kShape.projection(), kShape.query_bias()}, {kShape.query_bias(), kShape.query_norm()},
      {kShape.query_norm(), kShape.key_norm()},   {kShape.key_norm(), kShape.anchors()},
      {kShape.anchors(), kShape.bias()},          {kShape.bias(), kShape.parameters()}};
  for (const auto& [begin, end] : tensors) {
    double difference = 0, norm = 0;
    for (size_t i = begin; i < end; i += std::max<size_t>(1, (end - begin) / 200)) {
      float& parameter = gate.parameters()[i];
      const float before = parameter;
      parameter = before + kStep;
      const double above = gate.loss(inputs, targets, unused);
      parameter = before - kStep;
      const double below = gate.loss(inputs, targets, unused);
      parameter = before;
      const double expected = (above - below) / (2 * kStep);
      difference += (gradient[i] - expected) * (gradient[i] - expected);
      norm += expected * expected;
    }
    EXPECT_GT(norm, 0);
    EXPECT_LT(std::sqrt(difference / norm), 0.01) << "parameters from " << begin;
  }
}

// By hand: the first step of Adam is the rate in the direction of the sign.
TEST(Adam, the_first_step_is_the_rate_and_the_second_remembers) {
  Adam adam(2);
  std::vector<float> parameters = {1, 1};
  adam.step(parameters, std::vector<float>{3, -0.5f}, 0.1);
  EXPECT_NEAR(parameters[0], 0.9, 1e-6);
  EXPECT_NEAR(parameters[1], 1.1, 1e-6);
  // Mean 0.9 * 0.3 / 0.19, mean square 0.999 * 0.009 / 0.001999.
  adam.step(parameters, std::vector<float>{0, 0}, 0.1);
  EXPECT_NEAR(parameters[0], 0.9 - 0.1 * (0.27 / 0.19) / std::sqrt(0.008991 / 0.001999), 1e-5);
}

TEST(GateFit, ranks_share_places_and_lie_inside_0_and_1) {
  std::vector<float> values = {5, -1, 5, 9};
  replace_by_ranks(values);
  EXPECT_THAT(values, ElementsAre(FloatEq(0.5f), FloatEq(0.125f), FloatEq(0.5f), FloatEq(0.875f)));
}

// Targets that a gate can tell from the input: which of two channels is larger, by head.
TEST(GateFit, fitting_learns_an_order_that_the_inputs_hold) {
  const auto make = [](size_t count, uint32_t seed) {
    GateRows rows{.layers = 2, .heads = 2, .group = 3, .hidden = 16, .rows = count};
    for (uint32_t layer = 0; layer < 2; ++layer) {
      const auto inputs = normal_values(count * 16, seed + layer);
      rows.inputs.emplace_back();
      rows.targets.emplace_back();
      for (size_t row = 0; row < count; ++row) {
        for (size_t c = 0; c < 16; ++c) {
          // Channels of very different sizes.
          rows.inputs[layer].push_back(
              to_bfloat16(inputs[row * 16 + c] * (c % 3 == 0 ? 100.0f : 0.1f)));
        }
        for (size_t head = 0; head < 2; ++head) {
          const float* x = inputs.data() + row * 16 + 4 * head;
          rows.targets[layer].push_back(1 / (1 + std::exp(3 * (x[layer] - x[3]))));
        }
      }
    }
    return rows;
  };
  ThreadPool threads(2);
  const GateRows rows = make(2000, 1);
  std::vector<size_t> epochs;
  const auto gates = fit_gates(rows, {.epochs = 15}, threads,
                               [&](size_t done, size_t) { epochs.push_back(done); });
  EXPECT_EQ(epochs.size(), 15u);
  const GateQuality quality = judge_gates(gates, make(500, 77), threads);
  EXPECT_GT(quality.all, 0.9);
  for (const double layer : quality.layers) EXPECT_GT(layer, 0.9);
  for (const double head : quality.heads) EXPECT_GT(head, 0.9);
  // The same seed gives the same gates, on any number of threads.
  ThreadPool one(1);
  const auto again = fit_gates(rows, {.epochs = 15}, one);
  EXPECT_TRUE(std::equal(again[1].parameters().begin(), again[1].parameters().end(),
                         gates[1].parameters().begin()));
}

}  // namespace
}  // namespace skvis
