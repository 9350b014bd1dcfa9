// SPDX-License-Identifier: Apache-2.0
// Selectors that judge by what a row carries: kvzip and gate.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "selectors/selector.hpp"

namespace skvis {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Kvzip, the_score_is_what_the_second_reading_wrote) {
  const Selector& kvzip = *find_selector("kvzip");
  EXPECT_EQ(kvzip.horizon, Horizon::prompt);
  EXPECT_EQ(kvzip.state_per_row, 1u);
  EXPECT_EQ(kvzip.needs({}).scoring_pass, 2048u);
  EXPECT_EQ(kvzip.needs({{"chunk", 100}}).scoring_pass, 100u);
  std::vector<float> state = {0.5f, 0, 1, NAN, kInfinity};
  std::vector<float> scores(5);
  kvzip.score({}, {.rows = 5, .state = state.data()}, scores.data());
  EXPECT_THAT(scores, testing::ElementsAre(0.5f, 0, 1, 0, 0));
}

class Gate : public ::testing::Test {
 protected:
  static constexpr uint32_t kLayers = 2, kHeads = 2, kGroup = 3, kHidden = 24;
  Gate() {
    add("gate.projection", {kLayers, kHeads, (kGroup + 1) * 16, kHidden});
    add("gate.query_bias", {kLayers, kHeads, kGroup, 16});
    add("gate.query_norm", {kLayers, 16});
    add("gate.key_norm", {kLayers, 16});
    add("gate.anchors", {kLayers, kHeads, 16, 16});
    add("gate.bias", {kLayers, kHeads, kGroup});
    shape_ = {.layers = kLayers,
              .query_heads = kHeads * kGroup,
              .kv_heads = kHeads,
              .head_dim = 8,
              .hidden_size = kHidden};
  }
  void add(const char* name, std::vector<size_t> shape) {
    size_t count = 1;
    for (const size_t size : shape) count *= size;
    std::normal_distribution<float> normal;
    NamedTensor& tensor = data_[name] = {shape, {}};
    for (size_t i = 0; i < count; ++i) tensor.values.push_back(normal(random_));
  }
  double at(const char* name, size_t i) const { return data_.find(name)->second.values[i]; }

  // The formula of the file's header in float64.
  double expected(HeadId id, const std::vector<float>& hidden) const {
    const size_t head = id.layer * kHeads + id.head;
    const auto project = [&](size_t part, const char* norm, bool query) {
      std::vector<double> out(16);
      double squares = 0;
      for (size_t c = 0; c < 16; ++c) {
        const size_t row = head * (kGroup + 1) * 16 + part * 16 + c;
        for (size_t i = 0; i < kHidden; ++i) {
          out[c] += at("gate.projection", row * kHidden + i) * hidden[i];
        }
        if (query) out[c] += at("gate.query_bias", (head * kGroup + part) * 16 + c);
        squares += out[c] * out[c];
      }
      for (size_t c = 0; c < 16; ++c) {
        out[c] *= at(norm, id.layer * 16 + c) / std::sqrt(squares / 16 + 1e-6);
      }
      return out;
    };
    const auto k = project(kGroup, "gate.key_norm", false);
    double score = 0;
    for (size_t g = 0; g < kGroup; ++g) {
      const auto q = project(g, "gate.query_norm", true);
      double own = at("gate.bias", head * kGroup + g), sum = 1;
      for (size_t c = 0; c < 16; ++c) own += k[c] * q[c] / 4;
      for (size_t s = 0; s < 16; ++s) {
        double anchor = 0;
        for (size_t c = 0; c < 16; ++c) {
          anchor += at("gate.anchors", (head * 16 + s) * 16 + c) * q[c] / 4;
        }
        sum += std::exp(anchor - own);
      }
      score += 1 / sum / kGroup;
    }
    return score;
  }

  std::mt19937 random_{3};
  NamedTensors data_;
  CacheShape shape_;
  const Selector& gate_ = *find_selector("gate");
};

TEST_F(Gate, the_score_is_the_formula_and_between_0_and_1) {
  ASSERT_TRUE(gate_.check_data(data_, shape_).ok());
  EXPECT_EQ(gate_.horizon, Horizon::row);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 50; ++i) {
    std::vector<float> hidden(kHidden);
    for (float& x : hidden) x = normal(random_) * 2;
    for (const HeadId id : {HeadId{0, 0}, HeadId{0, 1}, HeadId{1, 1}}) {
      float state = NAN;
      gate_.observe({}, &data_, {.id = id, .group_size = kGroup, .hidden = hidden}, &state);
      EXPECT_NEAR(state, expected(id, hidden), 1e-5);
      EXPECT_GT(state, 0);
      EXPECT_LT(state, 1);
    }
  }
}

TEST_F(Gate, inputs_that_overflow_leave_a_number) {
  float state = NAN;
  const std::vector<float> hidden(kHidden, 3e38f);
  gate_.observe({}, &data_, {.id = {0, 0}, .group_size = kGroup, .hidden = hidden}, &state);
  EXPECT_TRUE(std::isfinite(state));
}

TEST_F(Gate, tensors_of_another_shape_are_refused_by_name) {
  for (const auto& [name, tensor] : NamedTensors(data_)) {
    NamedTensors other = data_;
    other.erase(name);
    auto refused = gate_.check_data(other, shape_);
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message, testing::HasSubstr(name));
    other[name] = tensor;
    other[name].shape[0] += 1;
    refused = gate_.check_data(other, shape_);
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().message, testing::HasSubstr("found ["));
  }
  CacheShape shape = shape_;
  shape.hidden_size = 32;
  EXPECT_FALSE(gate_.check_data(data_, shape).ok());
  shape.hidden_size = 0;
  EXPECT_FALSE(gate_.check_data(data_, shape).ok());
}

// DMS: a threshold of minus infinity changes nothing, one of plus infinity leaves what is
// protected.
TEST_F(Gate, rows_below_the_threshold_go_whatever_the_budget_says) {
  std::vector<float> state = {0.2f, 0.5f, 0.8f, 0};
  std::vector<float> scores(4);
  const SelectorView view{.rows = 4, .state = state.data()};
  gate_.score({}, view, scores.data());
  EXPECT_EQ(scores, state);
  gate_.score({{"threshold", 0.5}}, view, scores.data());
  EXPECT_THAT(scores, testing::ElementsAre(-kInfinity, 0.5f, 0.8f, -kInfinity));
  gate_.score({{"threshold", 1}}, view, scores.data());
  EXPECT_THAT(scores, testing::Each(-kInfinity));
}

}  // namespace
}  // namespace skvis
