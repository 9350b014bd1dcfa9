// SPDX-License-Identifier: Apache-2.0
// Steps over logits and the sampler, by numbers worked out by hand.
#include "engine/sampler.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

namespace skvis {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
using Logits = std::vector<float>;

TEST(logit_steps, a_mask_keeps_the_tokens_whose_bit_is_set) {
  Logits logits(70, 1.0f);
  const uint64_t mask[] = {uint64_t{1} << 3, uint64_t{1} << 5};
  keep_masked(logits, mask);
  for (size_t i = 0; i < logits.size(); ++i) {
    EXPECT_EQ(logits[i], i == 3 || i == 69 ? 1.0f : kNever) << i;
  }
  Logits longer(130, 1.0f);
  keep_masked(longer, mask);
  EXPECT_EQ(longer[69], 1.0f);
  EXPECT_EQ(longer[128], kNever);
}

TEST(logit_steps, only_allowed_tokens_are_kept) {
  Logits logits = {1, 2, 3, 4};
  keep_only(logits, std::vector<uint32_t>{2, 0, 2, 99});
  EXPECT_EQ(logits, (Logits{1, kNever, 3, kNever}));
}

TEST(logit_steps, forbidden_tokens_go) {
  Logits logits = {1, 2, 3};
  forbid(logits, std::vector<uint32_t>{1, 7});
  EXPECT_EQ(logits, (Logits{1, kNever, 3}));
}

TEST(logit_steps, a_sequence_is_forbidden_where_its_beginning_was_said) {
  const std::vector<std::vector<uint32_t>> sequences = {
      {0}, {5, 6, 1}, {6, 5, 2}, {5, 6, 7, 3}, {}};
  Logits logits = {1, 1, 1, 1};
  forbid_sequences(logits, sequences, std::vector<uint32_t>{9, 5, 6});
  EXPECT_EQ(logits, (Logits{kNever, kNever, 1, 1}));
  logits = {1, 1, 1, 1};
  forbid_sequences(logits, sequences, {});
  EXPECT_EQ(logits, (Logits{kNever, 1, 1, 1}));
}

TEST(logit_steps, biases_are_added) {
  Logits logits = {1, 2, 3};
  const std::pair<uint32_t, float> bias[] = {{0, 1.5f}, {2, -100.0f}, {50, 1.0f}};
  add_bias(logits, bias);
  EXPECT_EQ(logits, (Logits{2.5f, 2, -97}));
}

TEST(logit_steps, repetition_divides_positive_and_multiplies_negative_logits) {
  Logits logits = {4, -4, 4, -4, kNever};
  penalise_repetition(logits, {{0, 0}, {1, 3}, {4, 1}, {77, 1}}, 2.0);
  EXPECT_EQ(logits, (Logits{2, -8, 4, -4, kNever}));
}

TEST(logit_steps, use_is_penalised_by_count_and_once) {
  Logits logits = {4, 4, 4, 4};
  penalise_use(logits, {{0, 0}, {1, 1}, {2, 3}, {77, 1}}, 0.5, 0.25);
  // 4 - 1 * 0.5 - 0.25 and 4 - 3 * 0.5 - 0.25; token 0 was in the prompt only.
  EXPECT_EQ(logits, (Logits{4, 3.25f, 2.25f, 4}));
}

std::shared_ptr<const TokenRules> rules(TokenRules given) {
  return std::make_shared<const TokenRules>(std::move(given));
}

SamplingOptions greedy() {
  return {.temperature = 0, .top_p = 1};
}

TEST(Sampler, masks_come_before_biases) {
  const Logits logits = {1, 2, 3, 4};
  Sampler sampler(greedy(), rules({.allowed = {0, 1, 2}, .biases = {{3, 100.0f}, {0, 1.5f}}}));
  EXPECT_EQ(sampler.sample(logits), 2u);  // 2.5, 2, 3: the biased one is not allowed
  const uint32_t forbidden[] = {2};
  EXPECT_EQ(sampler.sample(logits, {.forbidden = forbidden}), 0u);
  const uint64_t mask[] = {0b1010};
  EXPECT_EQ(sampler.sample(logits, {.allowed = mask}), 1u);
}

TEST(Sampler, nothing_left_is_no_token) {
  const Logits logits = {1, 2};
  Sampler sampler(greedy(), rules({.allowed = {1}}));
  const uint32_t forbidden[] = {1};
  EXPECT_EQ(sampler.sample(logits, {.forbidden = forbidden}), std::nullopt);
  EXPECT_EQ(sampler.sample(logits), 1u);
}

TEST(Sampler, biases_come_before_penalties) {
  // 1 + 3 = 4 is divided by 2; were the penalty first, 0.5 + 3 would win.
  const Logits logits = {1, 2.5f};
  SamplingOptions options = greedy();
  options.repetition_penalty = 2;
  Sampler sampler(options, rules({.biases = {{0, 3.0f}}}), std::vector<uint32_t>{0});
  EXPECT_EQ(sampler.sample(logits), 1u);
}

TEST(Sampler, penalties_count_what_was_said) {
  const Logits logits = {1.0f, 0.9f, 0.0f};
  SamplingOptions options = greedy();
  options.frequency_penalty = 0.3;
  // 1 | 0.7 0.9 | 0.7 0.6 | 0.4 0.6 | 0.4 0.3 0 ...
  Sampler by_count(options);
  std::vector<uint32_t> said;
  for (int i = 0; i < 5; ++i) said.push_back(*by_count.sample(logits));
  EXPECT_EQ(said, (std::vector<uint32_t>{0, 1, 0, 1, 0}));
  options.frequency_penalty = 0;
  options.presence_penalty = 0.5;  // 1 | 0.5 0.9 | 0.5 0.4, and so on for ever
  Sampler once(options, {}, std::vector<uint32_t>{0});
  said.clear();
  for (int i = 0; i < 4; ++i) said.push_back(*once.sample(logits));
  EXPECT_EQ(said, (std::vector<uint32_t>{0, 1, 0, 0}));
}

TEST(Sampler, a_forbidden_sequence_is_never_said) {
  const Logits logits = {3, 2, 1};
  Sampler sampler(greedy(), rules({.forbidden = {{0, 0}, {1, 0}}}));
  std::vector<uint32_t> said;
  for (int i = 0; i < 4; ++i) said.push_back(*sampler.sample(logits));
  EXPECT_EQ(said, (std::vector<uint32_t>{0, 1, 1, 1}));
}

// The tokens that so many draws reach.
std::set<uint32_t> reached(const SamplingOptions& options, const Logits& logits, int draws = 5000) {
  Sampler sampler(options);
  std::set<uint32_t> tokens;
  for (int i = 0; i < draws; ++i) tokens.insert(*sampler.sample(logits));
  return tokens;
}

TEST(Sampler, typical_tokens_are_those_of_expected_surprise) {
  // Entropy 1.14 nats; surprises 0.69, 1.20, 1.90, 3.00: the second is the most typical, then the
  // first (0.45 away), then the third (0.76).
  const Logits logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  const auto typical = [&](double p) {
    return reached({.temperature = 1, .top_p = 1, .typical_p = p}, logits);
  };
  EXPECT_EQ(typical(0.2), (std::set<uint32_t>{1}));
  EXPECT_EQ(typical(0.79), (std::set<uint32_t>{0, 1}));
  EXPECT_EQ(typical(0.81), (std::set<uint32_t>{0, 1, 2}));
}

TEST(Sampler, top_p_counts_what_typical_p_left) {
  // Typical are 1 and 0; of their sum 0.8 the first alone has 0.625.
  const Logits logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  EXPECT_EQ(reached({.temperature = 1, .top_p = 0.6, .typical_p = 0.79}, logits),
            (std::set<uint32_t>{0}));
}

TEST(Sampler, top_p_cuts_a_flat_distribution_where_the_sum_says) {
  // Weights e^(-i / 4000), shuffled. The best n of 8,000 have the share (1 - e^(-n / 4000)) /
  // (1 - e^-2): 0.5 at n = 2264.9, 0.18 at n = 676.7.
  Logits logits(8000);
  std::vector<uint32_t> rank(8000);
  for (uint32_t token = 0; token < 8000; ++token) {
    rank[token] = token * 1237 % 8000;
    logits[token] = -static_cast<float>(rank[token]) / 4000;
  }
  uint32_t last = 0;
  for (const uint32_t token : reached({.temperature = 1, .top_p = 0.5}, logits, 1500)) {
    last = std::max(last, rank[token]);
  }
  EXPECT_LE(last, 2264u);
  EXPECT_GE(last, 2244u);
  last = 0;
  for (const uint32_t token : reached({.temperature = 1, .top_p = 0.18}, logits, 1500)) {
    last = std::max(last, rank[token]);
  }
  EXPECT_LE(last, 676u);
  EXPECT_GE(last, 666u);
}

TEST(Sampler, a_request_goes_before_the_model_and_the_model_before_defaults) {
  GenerationDefaults model;
  model.repetition_penalty = 1.1;
  model.top_p = 0.5;
  const SamplingOptions fallback{.temperature = 0.3, .top_p = 1};
  const SamplingOptions resolved =
      resolve_sampling({.top_p = 0.7, .presence_penalty = 1.5, .seed = 3}, model, fallback);
  EXPECT_EQ(resolved.temperature, 0.3);
  EXPECT_EQ(resolved.top_p, 0.7);
  EXPECT_EQ(resolved.repetition_penalty, 1.1);
  EXPECT_EQ(resolved.presence_penalty, 1.5);
  EXPECT_EQ(resolved.frequency_penalty, 0);
  EXPECT_EQ(resolved.seed, 3u);
  EXPECT_EQ(resolve_sampling({.repetition_penalty = 1.0}, model, fallback).repetition_penalty, 1);
}

}  // namespace
}  // namespace skvis
