// SPDX-License-Identifier: Apache-2.0
// What rows that repeat a part of a prompt write into the rows they repeat.
#include "attention/repeat_step.hpp"

#include <gtest/gtest.h>

#include "attention/attention_step.hpp"
#include "attention_testing.hpp"

namespace skvis {
namespace {

constexpr uint32_t kLayers = 2;
constexpr uint32_t kTokens = 90;
constexpr uint64_t kSeed = 11;

// Appends rows as the model would: with inputs by position alone.
void run_rows(Bench& bench, SequenceCache& sequence, uint32_t rows, const RepeatedPart* part,
              std::vector<std::unique_ptr<AttentionStep>>& steps) {
  const uint32_t first = sequence.length();
  const SequenceSlice slice{.sequence = &sequence, .rows = rows, .observed = part == nullptr};
  auto begun = AttentionStep::begin({&slice, 1}, bench.threads);
  ASSERT_TRUE(begun.ok());
  steps.push_back(std::move(*begun));
  std::unique_ptr<RepeatStep> repeat;
  if (part != nullptr) {
    repeat =
        std::make_unique<RepeatStep>(*steps.back(), sequence, *part, first, rows, bench.threads);
  }
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    StepInput input;
    input.add(bench.shape(), kSeed, layer, first, rows);
    std::vector<float> out(input.q.size());
    LayerCache& cache = part != nullptr ? static_cast<LayerCache&>(*repeat) : *steps.back();
    cache.attend(input.view(layer, bench.rotary), out.data());
  }
}

void read_prompt(Bench& bench, SequenceCache& sequence) {
  std::vector<std::unique_ptr<AttentionStep>> steps;
  run_rows(bench, sequence, kTokens, nullptr, steps);
  steps[0]->commit_all();
}

// Repeats a part in slices of `slices` rows in turn, and takes the rows away again.
void repeat(Bench& bench, SequenceCache& sequence, const RepeatedPart& part, uint32_t rows,
            const std::vector<uint32_t>& slices) {
  std::vector<std::unique_ptr<AttentionStep>> steps;
  for (uint32_t done = 0, i = 0; done < rows; ++i) {
    const uint32_t count = std::min(slices[i % slices.size()], rows - done);
    run_rows(bench, sequence, count, &part, steps);
    done += count;
  }
  while (!steps.empty()) steps.pop_back();
}

std::vector<float> states(SequenceCache& sequence, uint32_t head) {
  std::vector<float> all;
  for (const LiveRow& row : live_rows(sequence, head, sequence.length())) {
    all.push_back(*row_state(sequence, head, row));
  }
  return all;
}

// The definition in float64: the largest probability of a softmax over the first rows, the part and
// the block so far.
std::vector<double> expected_scores(const Bench& bench, const DecodedRows& decoded, uint32_t head,
                                    const RepeatedPart& part, uint32_t rows) {
  const HeadId id = bench.shape().head(head);
  const uint32_t group = bench.shape().group_size();
  const size_t width = bench.shape().head_dim;
  StepInput all;
  all.add(bench.shape(), kSeed, id.layer, 0, part.block + rows);
  std::vector<double> scores(part.block, 0.0);
  for (uint32_t i = part.block; i < part.block + rows; ++i) {
    for (uint32_t g = 0; g < group; ++g) {
      const auto q = rotated_query(
          bench.shape(), bench.rotary, i,
          all.q.data() + (i * bench.shape().query_heads + id.head * group + g) * width);
      std::vector<double> logits(i + 1, -INFINITY);
      double sum = 0;
      for (uint32_t j = 0; j <= i; ++j) {
        const bool seen =
            j >= part.block || (j >= part.begin && j < part.end) || j < std::min(4u, part.begin);
        if (!seen) continue;
        double dot = 0;
        for (size_t c = 0; c < width; ++c) dot += q[c] * decoded.keys[j * width + c];
        logits[j] = std::exp(dot * bench.shape().attention_scale);
        sum += logits[j];
      }
      for (uint32_t j = part.begin; j < part.end; ++j) {
        scores[j] = std::max(scores[j], logits[j] / sum);
      }
    }
  }
  return scores;
}

TEST(RepeatStep, rows_get_the_largest_probability_that_their_repetition_gives_them) {
  const std::string plan = plan_text("f32", "f32", R"("settle": "prompt", "exact_type": "f32",
      "keep": {"selector": "kvzip", "ratio": 0.5})");
  for (const RepeatedPart part : {RepeatedPart{0, kTokens, kTokens}, RepeatedPart{0, 40, kTokens},
                                  RepeatedPart{3, 50, kTokens}, RepeatedPart{40, 90, kTokens}}) {
    const uint32_t rows = part.end - part.begin + 7;
    std::vector<std::vector<float>> first;
    for (const std::vector<uint32_t>& slices :
         std::vector<std::vector<uint32_t>>{{256}, {1}, {20, 3}}) {
      Bench bench(make_shape(kLayers, 2, 3, 32), plan, slices.size());
      SequenceCache sequence = bench.open();
      read_prompt(bench, sequence);
      // Rows of the block as the reference sees them.
      ASSERT_TRUE(sequence.append(rows).ok());
      for (uint32_t head = 0; head < bench.layout.heads(); ++head) {
        const HeadId id = bench.shape().head(head);
        StepInput block;
        block.add(bench.shape(), kSeed, id.layer, kTokens, rows);
        for (uint32_t row = 0; row < rows; ++row) {
          std::vector<float> angles(32), key(32);
          rotary_angles(bench.rotary, kTokens + row, angles.data());
          rotate_row(block.k.data() + (row * 2 + id.head) * 32, angles.data(), 16, key.data());
          store_exact(ExactType::f32, key.data(), 32, sequence.exact_key(head, kTokens + row));
        }
      }
      std::vector<DecodedRows> decoded;
      for (uint32_t head = 0; head < bench.layout.heads(); ++head) {
        decoded.emplace_back(sequence, head);
      }
      sequence.rollback(kTokens);
      const uint64_t before = hash_sequence(sequence);

      repeat(bench, sequence, part, rows, slices);
      EXPECT_EQ(hash_sequence(sequence), before) << "the pass left something behind";
      EXPECT_EQ(sequence.committed(), kTokens);
      for (uint32_t head = 0; head < bench.layout.heads(); ++head) {
        const auto found = states(sequence, head);
        const auto expected = expected_scores(bench, decoded[head], head, part, rows);
        for (uint32_t j = 0; j < kTokens; ++j) {
          ASSERT_NEAR(found[j], expected[j], 1e-5 * expected[j]) << head << " row " << j;
        }
        if (first.size() < bench.layout.heads()) {
          first.push_back(found);
        } else {
          EXPECT_EQ(found, first[head]) << "slices or threads change the scores";
        }
      }
    }
  }
}

TEST(RepeatStep, heads_that_keep_every_row_are_left_alone) {
  const std::string plan = plan_text("f32", "f32", R"("settle": "prompt", "exact_type": "f32",
      "keep": {"selector": "kvzip", "ratio": 0.5, "heads": "1"})");
  Bench bench(make_shape(kLayers, 2, 3, 32), plan);
  SequenceCache sequence = bench.open();
  read_prompt(bench, sequence);
  repeat(bench, sequence, {0, kTokens, kTokens}, kTokens, {256});
  for (uint32_t head = 0; head < bench.layout.heads(); ++head) {
    const auto found = states(sequence, head);
    const bool scored = std::any_of(found.begin(), found.end(), [](float x) { return x > 0; });
    EXPECT_EQ(scored, head % 2 == 1) << head;
  }
}

}  // namespace
}  // namespace skvis
