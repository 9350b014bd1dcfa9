// SPDX-License-Identifier: Apache-2.0
#include "eval/head_scores.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <numbers>
#include <random>

#include "eval/kept.hpp"
#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

double entropy_of(const std::vector<float>& rows, size_t head_dim,
                  uint32_t largest = kEntropyDirections) {
  return truncated_entropy({rows.data(), rows.size() / head_dim, head_dim, head_dim}, largest);
}

// Rows +e_i and -e_i for the first `directions` channels of 128.
std::vector<float> axes(size_t directions) {
  std::vector<float> rows(2 * directions * 128);
  for (size_t i = 0; i < directions; ++i) {
    rows[2 * i * 128 + i] = 1;
    rows[(2 * i + 1) * 128 + i] = -1;
  }
  return rows;
}

// The published method's analytic cases.
TEST(TruncatedEntropy, equal_directions_count_as_far_as_they_are_taken) {
  EXPECT_NEAR(entropy_of(axes(128), 128), 0.25, 1e-6);
  EXPECT_NEAR(entropy_of(axes(128), 128, 128), 1.0, 1e-6);
  EXPECT_NEAR(entropy_of(axes(1), 128), 0, 1e-6);
  EXPECT_NEAR(entropy_of(axes(2), 128), 0.142857, 1e-6);
  EXPECT_NEAR(entropy_of(axes(16), 128), 0.571429, 1e-6);
}

TEST(TruncatedEntropy, equal_rows_have_none) {
  const std::vector<float> row = {0.1f, 0.7f, -3.3f};
  std::vector<float> rows;
  for (int i = 0; i < 7; ++i) rows.insert(rows.end(), row.begin(), row.end());
  EXPECT_EQ(entropy_of(rows, 3), 0);
  EXPECT_EQ(entropy_of(std::vector<float>(12, 0.0f), 3), 0);
}

// Rows are multiples of a 64th, so that scaling and shifting them rounds nothing.
TEST(TruncatedEntropy, scale_and_shift_change_nothing) {
  std::mt19937 random(2);
  std::vector<float> rows(200 * 16), moved(200 * 16);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = static_cast<float>(std::round(std::normal_distribution<>(0, 64)(random))) / 64;
    moved[i] = 3 * rows[i] + static_cast<float>(i % 16) / 4;
  }
  EXPECT_NEAR(entropy_of(rows, 16), entropy_of(moved, 16), 1e-9);
  EXPECT_GT(entropy_of(rows, 16), 0.9);
}

TEST(TruncatedEntropy, rows_may_lie_apart) {
  std::vector<float> rows = axes(16), wide(32 * 200, 9.0f);
  for (size_t i = 0; i < 32; ++i) {
    std::copy_n(rows.begin() + static_cast<ptrdiff_t>(i * 128), 128,
                wide.begin() + static_cast<ptrdiff_t>(i * 200));
  }
  EXPECT_DOUBLE_EQ(truncated_entropy({wide.data(), 32, 128, 200}), entropy_of(rows, 128));
}

CacheShape shape_of(uint32_t layers, uint32_t kv_heads) {
  CacheShape shape;
  shape.layers = layers;
  shape.kv_heads = shape.query_heads = kv_heads;
  return shape;
}

// Top halves {0, 1}, {0, 2}, {0, 1}: three, two, one and no vote.
TEST(GroupVotes, are_the_samples_that_have_a_head_in_the_upper_half) {
  const HeadShares scores = {{.9, .8, .1, .2}, {.9, .3, .8, .1}, {.5, .5, .4, .1}};
  EXPECT_THAT(group_votes(scores, shape_of(1, 4), 2),
              ElementsAre(1, DoubleNear(2.0 / 3, 1e-12), DoubleNear(1.0 / 3, 1e-12), 0));
}

TEST(GroupVotes, count_groups_and_layers_apart_and_ties_for_the_lower_head) {
  const HeadShares scores = {{.1, .2, .3, .7, .7, .7}};
  EXPECT_THAT(group_votes(scores, shape_of(2, 3), 3), ElementsAre(0, 0.5, 1, 1, 0.5, 0));
}

RotaryTable one_frequency(double frequency) {
  return {.inverse_frequency = {frequency}};
}

// Equal logits: attention 1 / n each, whose running sums are 1/n, 2/n, ... 1.
TEST(AttentionArea, of_a_head_that_does_not_mind_is_a_half) {
  const std::vector<double> q = {1, 0}, k = {0, 0};
  EXPECT_NEAR(attention_area(q, k, one_frequency(1), 1), 501.0 / 1000, 1e-12);
  const std::vector<double> same = {1, 2};
  EXPECT_NEAR(attention_area(same, same, one_frequency(0), 1, 4), 10.0 / 16, 1e-12);
}

// Two positions a quarter turn apart: the last query sees its own key at cos(0), the first at
// cos(pi / 2) = 0, where q = k = (1, 0): weights 1 and e.
TEST(AttentionArea, by_hand_for_two_positions) {
  const std::vector<double> q = {1, 0};
  const RotaryTable quarter = one_frequency(std::numbers::pi / 2);
  const double e = std::numbers::e;
  EXPECT_NEAR(attention_area(q, q, quarter, 1, 2), (1 / (1 + e) + 1) / 2, 1e-6);
  const std::vector<double> away = {-1, 0};  // and the other way round
  EXPECT_NEAR(attention_area(q, away, quarter, 1, 2), (e / (1 + e) + 1) / 2, 1e-6);
}

TEST(AttentionArea, is_least_for_a_head_that_looks_at_itself_and_most_for_one_that_looks_back) {
  const std::vector<double> q = {1, 0}, back = {-1, 0};
  const RotaryTable half_turn = one_frequency(std::numbers::pi / 499);
  EXPECT_NEAR(attention_area(q, q, half_turn, 1e6), 1.0 / 500, 1e-3);
  EXPECT_NEAR(attention_area(q, back, half_turn, 1e6), 1, 1e-3);
}

std::vector<std::vector<uint32_t>> tiny_samples() {
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  return {{ids.begin(), ids.begin() + 120}, {ids.begin() + 30, ids.begin() + 150}};
}

std::unique_ptr<QueryReader> tiny_reader() {
  auto reader = QueryReader::open(source_path("models/tiny").string(), {}, 2);
  EXPECT_TRUE(reader.ok()) << reader.error().message;
  return std::move(*reader);
}

TEST(QueryReader, slices_hand_out_every_row_once_and_long_samples_are_refused) {
  const auto reader = tiny_reader();
  std::vector<uint32_t> sample(300);
  for (uint32_t i = 0; i < 300; ++i) sample[i] = 7 * i % 4000;
  std::vector<std::vector<uint32_t>> positions(reader->shape().layers);
  ASSERT_TRUE(reader
                  ->read(sample,
                         [&](uint32_t layer, const LayerRecord& record) {
                           positions[layer].insert(positions[layer].end(), record.positions.begin(),
                                                   record.positions.end());
                           EXPECT_EQ(record.q_before_rope.size(), record.positions.size() * 8 * 64);
                           EXPECT_EQ(record.k_before_rope.size(), record.positions.size() * 4 * 64);
                         })
                  .ok());
  for (const auto& layer : positions) {
    ASSERT_EQ(layer.size(), 300u);
    for (uint32_t i = 0; i < 300; ++i) EXPECT_EQ(layer[i], i);
  }
  const auto refused = reader->read(std::vector<uint32_t>(3000), [](auto, const auto&) {});
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("2048"));
}

// The mean over all samples of equal length is the mean of their means, and areas follow from it.
TEST(AreaProfile, one_sample_says_the_same_alone_and_as_all) {
  const auto reader = tiny_reader();
  const auto samples = tiny_samples();
  const auto one = measure_areas(*reader, std::span(samples).first(1));
  ASSERT_TRUE(one.ok()) << one.error().message;
  EXPECT_EQ(one->areas, one->by_sample[0]);
  const auto two = measure_areas(*reader, samples);
  ASSERT_TRUE(two.ok());
  EXPECT_EQ(two->by_sample[0], one->by_sample[0]);
  EXPECT_NE(two->areas, one->areas);
  for (const double area : two->areas) {
    EXPECT_GT(area, 1.0 / kAreaPositions);
    EXPECT_LT(area, 1);
  }
}

KeptRows kept_under(const Json& plan, std::span<const uint32_t> ids, uint32_t& fixed) {
  const auto engine = tiny_engine({.plan = dump_json(plan)});
  const auto count = static_cast<uint32_t>(ids.size());
  auto sequence = engine->open_sequence(count, count);
  EXPECT_TRUE(sequence.ok());
  EXPECT_TRUE(engine->read(*sequence, ids, 64, 0, {}).ok());
  fixed = engine->plan().protected_rows();
  return kept_rows(*sequence);
}

TEST(HeadScores, of_a_real_model_become_the_counts_of_a_plan_of_classes) {
  const auto reader = tiny_reader();
  const auto profile = measure_areas(*reader, tiny_samples());
  ASSERT_TRUE(profile.ok());
  const auto base = resolve_plan("keep=streaming:1.0 sinks=8 recent=24", reader->shape());
  ASSERT_TRUE(base.ok());
  Json plan = scored_plan(*base, "classes", profile->areas, {{"retrieval", 0.25}});
  plan["settle"] = 32;
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  uint32_t fixed = 0;
  const KeptRows kept = kept_under(plan, std::span(ids).first(128), fixed);
  EXPECT_EQ(fixed, 32u);
  std::vector<double> sorted = profile->areas;
  std::sort(sorted.rbegin(), sorted.rend());
  const double least = sorted[5];  // 24 heads, a quarter of them
  for (uint32_t head = 0; head < kept.size(); ++head) {
    EXPECT_EQ(kept[head].size(), profile->areas[head] >= least ? 128u : 32u) << head;
  }
}

TEST(HeadScores, of_a_real_model_become_the_counts_of_a_plan_of_entropy_groups) {
  const auto reader = tiny_reader();
  const auto entropies = measure_entropies(*reader, tiny_samples());
  ASSERT_TRUE(entropies.ok()) << entropies.error().message;
  for (const auto& sample : *entropies) {
    for (const double entropy : sample) {
      EXPECT_GT(entropy, 0.1);
      EXPECT_LE(entropy, 1);
    }
  }
  const auto votes = group_votes(*entropies, reader->shape(), 2);
  const auto base = resolve_plan("keep=snapkv:0.5 observe=8", reader->shape());
  ASSERT_TRUE(base.ok());
  Json plan = scored_plan(*base, "entropy", votes, {{"groups", 2}, {"spread", 0.5}});
  plan["settle"] = 32;
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  uint32_t fixed = 0;
  const KeptRows kept = kept_under(plan, std::span(ids).first(128), fixed);
  for (uint32_t layer = 0; layer < reader->shape().layers; ++layer) {
    size_t high = 0;
    for (uint32_t head = 0; head < 4; ++head) {
      const size_t rows = kept[reader->shape().index({layer, head})].size();
      EXPECT_TRUE(rows == 96 || rows == 32) << rows;
      high += rows == 96 ? 1 : 0;
    }
    EXPECT_EQ(high, 2u);
  }
}

}  // namespace
}  // namespace skvis::testing
