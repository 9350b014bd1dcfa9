// SPDX-License-Identifier: Apache-2.0
// What selectors see of all queries: totals per row, and moments of the queries before RoPE.
#include <gtest/gtest.h>

#include "attention/observation.hpp"
#include "attention_testing.hpp"

namespace skvis {
namespace {

constexpr uint32_t kLayers = 2;
constexpr uint32_t kTokens = 120;
constexpr uint64_t kSeed = 5;

// Reads kTokens synthetic tokens in slices; settles where the plan does.
void read_tokens(Bench& bench, SequenceCache& sequence, const std::vector<uint32_t>& slices) {
  uint32_t next = 0;
  while (sequence.length() < kTokens) {
    const uint32_t rows =
        sequence.slice(std::min(slices[next++ % slices.size()], kTokens - sequence.length()));
    const SequenceSlice slice{.sequence = &sequence,
                              .rows = rows,
                              .kind = rows == 1 ? RowKind::generated : RowKind::prompt};
    const uint32_t first = sequence.length();
    auto step = AttentionStep::begin({&slice, 1}, bench.threads);
    ASSERT_TRUE(step.ok());
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      StepInput input;
      input.add(bench.shape(), kSeed, layer, first, rows);
      std::vector<float> out(input.q.size());
      (*step)->attend(input.view(layer, bench.rotary), out.data());
    }
    (*step)->commit_all();
    if (bench.layout.plan().settle.is_grid_point(sequence.length())) {
      ASSERT_TRUE(settle(sequence, StoredAttention(), bench.threads).ok());
    }
  }
}

const std::vector<std::vector<uint32_t>> kSlicings = {{kTokens}, {1}, {7, 1, 30}, {64, 3}};

TEST(Observation, totals_are_what_all_queries_gave_a_row_whatever_slices_brought_them) {
  const std::string plan = plan_text("f32", "f32", R"("settle": 4096, "exact_type": "f32",
      "keep": {"selector": "h2o-grid", "ratio": 0.5})");
  std::vector<std::vector<float>> first_totals;
  for (const auto& slices : kSlicings) {
    Bench bench(make_shape(kLayers, 2, 3, 32), plan, 2);
    SequenceCache sequence = bench.open();
    read_tokens(bench, sequence, slices);
    for (uint32_t head = 0; head < bench.layout.heads(); ++head) {
      const HeadId id = bench.shape().head(head);
      const DecodedRows decoded(sequence, head);
      StepInput all;
      all.add(bench.shape(), kSeed, id.layer, 0, kTokens);
      std::vector<double> expected(kTokens, 0.0);
      for (uint32_t position = 0; position < kTokens; ++position) {
        for (uint32_t g = 0; g < 3; ++g) {
          const float* q = all.q.data() + (position * 6 + id.head * 3 + g) * 32;
          const auto seen = reference_attention(
              bench.shape(), decoded, rotated_query(bench.shape(), bench.rotary, position, q), 0,
              position + 1);
          for (uint32_t j = 0; j < kTokens; ++j) expected[j] += seen.probabilities[j] / 3;
        }
      }
      std::vector<float> totals;
      for (const LiveRow& row : decoded.rows) totals.push_back(*row_state(sequence, head, row));
      EXPECT_LE(distance(totals.data(), expected.data(), kTokens), 1e-5);
      if (first_totals.size() < bench.layout.heads()) {
        first_totals.push_back(totals);
      } else {
        EXPECT_EQ(totals, first_totals[head]) << "slices change the totals";
      }
    }
  }
}

TEST(Observation, moments_are_mean_and_covariance_of_the_queries_before_rope) {
  const std::string plan = plan_text("f32", "f32", R"("settle": 4096, "exact_type": "f32",
      "keep": {"selector": "expected-attention", "ratio": 0.5, "skip": 4})");
  std::vector<float> first_moments;
  for (const auto& slices : kSlicings) {
    Bench bench(make_shape(kLayers, 2, 3, 32), plan, 2);
    SequenceCache sequence = bench.open();
    read_tokens(bench, sequence, slices);
    std::vector<float> moments;
    for (uint32_t head = 0; head < bench.layout.heads(); ++head) {
      const HeadId id = bench.shape().head(head);
      StepInput all;
      all.add(bench.shape(), kSeed, id.layer, 0, kTokens);
      const float* found = sequence.query_moments(head);
      for (uint32_t g = 0; g < 3; ++g) {
        const auto q = [&](uint32_t position, uint32_t c) {
          return double{all.q[(position * 6 + id.head * 3 + g) * 32 + c]};
        };
        std::vector<double> expected(32, 0.0);
        for (uint32_t c = 0; c < 32; ++c) {
          for (uint32_t i = 4; i < kTokens; ++i) expected[c] += q(i, c) / (kTokens - 4);
        }
        for (uint32_t a = 0; a < 32; ++a) {
          for (uint32_t b = a; b < 32; ++b) {
            double sum = 0;
            for (uint32_t i = 4; i < kTokens; ++i) {
              sum += (q(i, a) - expected[a]) * (q(i, b) - expected[b]);
            }
            expected.push_back(sum);
          }
        }
        ASSERT_EQ(expected.size(), bench.layout.moment_floats());
        const float* of_query_head = found + g * expected.size();
        EXPECT_LE(distance(of_query_head, expected.data(), expected.size()), 1e-5);
        moments.insert(moments.end(), of_query_head, of_query_head + expected.size());
      }
    }
    if (first_moments.empty()) first_moments = moments;
    EXPECT_EQ(moments, first_moments) << "slices change the moments";
  }
}

TEST(Observation, rows_that_will_be_rolled_back_leave_no_trace) {
  for (const std::string selector : {"h2o-grid", "expected-attention"}) {
    const std::string plan = plan_text("f32", "f32", R"("settle": 4096, "exact_type": "f32",
        "keep": {"selector": ")" + selector + R"(", "ratio": 0.5})");
    Bench bench(make_shape(kLayers, 2, 3, 32), plan, 1);
    SequenceCache sequence = bench.open();
    read_tokens(bench, sequence, {40});
    const auto seen = [&] {
      std::vector<float> all;
      for (uint32_t head = 0; head < bench.layout.heads(); ++head) {
        for (const LiveRow& row : live_rows(sequence, head, sequence.length())) {
          const float* state = row_state(sequence, head, row);
          all.insert(all.end(), state, state + bench.layout.state_floats());
        }
        if (!bench.layout.needs().query_moments) continue;
        const float* moments = sequence.query_moments(head);
        all.insert(all.end(), moments, moments + 3 * bench.layout.moment_floats());
      }
      return all;
    };
    const auto before = seen();
    ASSERT_FALSE(before.empty());
    {
      const SequenceSlice slice{.sequence = &sequence, .rows = 9, .observed = false};
      auto step = AttentionStep::begin({&slice, 1}, bench.threads);
      ASSERT_TRUE(step.ok());
      for (uint32_t layer = 0; layer < kLayers; ++layer) {
        StepInput input;
        input.add(bench.shape(), kSeed, layer, kTokens, 9);
        std::vector<float> out(input.q.size());
        (*step)->attend(input.view(layer, bench.rotary), out.data());
      }
    }
    EXPECT_EQ(seen(), before) << selector;
  }
}

}  // namespace
}  // namespace skvis
