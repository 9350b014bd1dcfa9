// SPDX-License-Identifier: Apache-2.0
#include "attention/partial.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "attention/fused.hpp"
#include "attention_testing.hpp"

namespace skvis {
namespace {

constexpr size_t kRows = 3;
constexpr size_t kWidth = 40;
constexpr size_t kTokens = 200;

struct Data {
  std::vector<float> logits, values;
  Data() : logits(kRows * kTokens), values(kTokens * kWidth) {
    make_row(RowsLike::normal, 1, 0, logits.size(), logits.data());
    for (float& logit : logits) logit *= 20;  // far apart, so that maxima matter
    make_row(RowsLike::normal, 2, 0, values.size(), values.data());
  }
};

struct Owned {
  std::vector<float> memory = std::vector<float>(Partial::floats(kRows, kWidth), NAN);
  Partial view = Partial::at(memory.data(), kRows, kWidth);
};

// The partial over tokens [begin, end).
Owned gather(const kernels::Kernels& kernels, const Data& data, size_t begin, size_t end) {
  Owned owned;
  owned.view.clear();
  for (size_t row = 0; row < kRows; ++row) {
    std::vector<float> weights(data.logits.begin() + row * kTokens + begin,
                               data.logits.begin() + row * kTokens + end);
    owned.view.add_logits(kernels, row, 1, weights.data(), weights.size(), weights.size());
    for (size_t i = 0; i < weights.size(); ++i) {
      for (size_t c = 0; c < kWidth; ++c) {
        owned.view.accumulator[row * kWidth + c] +=
            weights[i] * data.values[(begin + i) * kWidth + c];
      }
    }
  }
  return owned;
}

void expect_result(const Partial& partial, const Data& data) {
  for (size_t row = 0; row < kRows; ++row) {
    const float* logits = data.logits.data() + row * kTokens;
    const double maximum = *std::max_element(logits, logits + kTokens);
    double sum = 0;
    std::vector<double> out(kWidth);
    for (size_t i = 0; i < kTokens; ++i) {
      const double weight = std::exp(logits[i] - maximum);
      sum += weight;
      for (size_t c = 0; c < kWidth; ++c) out[c] += weight * data.values[i * kWidth + c];
    }
    EXPECT_EQ(partial.maximum[row], static_cast<float>(maximum));
    EXPECT_NEAR(partial.sum[row], sum, 1e-5 * sum);
    EXPECT_LE(distance(partial.accumulator + row * kWidth, out.data(), kWidth), 1e-5);
  }
}

TEST(Partial, any_split_merged_in_any_order_gives_the_whole) {
  const Data data;
  std::mt19937 random(3);
  for (const kernels::Level level : kernels::available_levels()) {
    const kernels::Kernels& kernels = kernels::kernels_at(level);
    for (int round = 0; round < 30; ++round) {
      std::vector<size_t> borders = {0, kTokens};
      for (size_t i = 0; i < 1 + random() % 9; ++i) borders.push_back(random() % (kTokens + 1));
      std::sort(borders.begin(), borders.end());
      std::vector<Owned> parts;
      for (size_t i = 0; i + 1 < borders.size(); ++i) {
        parts.push_back(gather(kernels, data, borders[i], borders[i + 1]));
      }
      std::shuffle(parts.begin(), parts.end(), random);
      for (Owned& part : parts) part.view = Partial::at(part.memory.data(), kRows, kWidth);
      // As a tree: neighbours pairwise, until one is left.
      for (size_t stride = 1; stride < parts.size(); stride *= 2) {
        for (size_t i = 0; i + stride < parts.size(); i += 2 * stride) {
          parts[i].view.merge(kernels, parts[i + stride].view);
        }
      }
      expect_result(parts[0].view, data);
    }
  }
}

TEST(Partial, empty_ones_merge_to_an_empty_one_and_change_nothing) {
  const Data data;
  for (const kernels::Level level : kernels::available_levels()) {
    const kernels::Kernels& kernels = kernels::kernels_at(level);
    Owned a = gather(kernels, data, 5, 5);
    const Owned b = gather(kernels, data, 9, 9);
    a.view.merge(kernels, b.view);
    for (size_t row = 0; row < kRows; ++row) {
      EXPECT_EQ(a.view.maximum[row], kEmptyMaximum);
      EXPECT_EQ(a.view.sum[row], 0.0f);
    }
    for (size_t i = 0; i < kRows * kWidth; ++i) EXPECT_EQ(a.view.accumulator[i], 0.0f);
    Owned whole = gather(kernels, data, 0, kTokens);
    const std::vector<float> before = whole.memory;
    whole.view.merge(kernels, a.view);
    EXPECT_EQ(whole.memory, before);
    a.view.merge(kernels, whole.view);
    EXPECT_EQ(a.memory, before);
    // Logits of masked slots alone leave a partial empty.
    std::vector<float> masked(64, kEmptyMaximum);
    Owned c;
    c.view.clear();
    c.view.add_logits(kernels, 0, 1, masked.data(), masked.size(), masked.size());
    EXPECT_EQ(c.view.maximum[0], kEmptyMaximum);
    EXPECT_EQ(c.view.sum[0], 0.0f);
    for (const float weight : masked) EXPECT_EQ(weight, 0.0f);
  }
}

TEST(Partial, a_sequence_without_rows_gives_an_empty_one) {
  Bench bench(make_shape(1, 1, 4, 64), plan_text("int8", "int8", R"("sinks": 4)"));
  const SequenceCache sequence = bench.open();
  const kernels::Kernels& kernels = kernels::active_kernels();
  std::vector<float> q(4 * 64, 1.0f);
  const FusedQuery query{.sequence = &sequence, .head = 0, .q = q.data(), .begin = 0, .end = 0};
  EXPECT_EQ(sealed_partials(query), 0u);
  FusedScratch scratch;
  scratch.logits.ensure(kFusedRows * kPageSlots);
  std::vector<float> memory(Partial::floats(4, 64), NAN);
  const Partial partial = Partial::at(memory.data(), 4, 64);
  attend_open(kernels, query, 0, scratch, partial);
  for (size_t row = 0; row < 4; ++row) {
    EXPECT_EQ(partial.maximum[row], kEmptyMaximum);
    EXPECT_EQ(partial.sum[row], 0.0f);
  }
}

}  // namespace
}  // namespace skvis
