// SPDX-License-Identifier: Apache-2.0
#include "model/linear.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

namespace skvis {
namespace {

float value_at(size_t i) {
  return std::sin(static_cast<float>(i) * 0.37f + 0.1f);
}

Result<Linear> make(const DensePath& path, WeightFormat format, size_t features, size_t inputs,
                    ThreadPool& threads, float factor = 1.0f) {
  const auto rows = [=](size_t first, size_t count, float* out) {
    for (size_t i = 0; i < count * inputs; ++i) out[i] = factor * value_at(first * inputs + i);
  };
  return Linear::pack(path, format, features, inputs, rows, {}, threads);
}

TEST(Linear, odd_numbers_of_features_and_every_number_of_rows_give_the_same_bits) {
  const DensePath path = *choose_dense_path(DenseMode::fast);
  ThreadPool threads(3);
  for (const size_t features : {1u, 50u, 257u}) {
    for (const WeightFormat format : {WeightFormat::f32, WeightFormat::f16, WeightFormat::bf16}) {
      const Linear linear = *make(path, format, features, 136, threads);
      std::vector<float> x(512 * 136);
      for (size_t i = 0; i < x.size(); ++i) x[i] = value_at(i * 5 + 3);
      for (const RowKind kind : {RowKind::prompt, RowKind::generated}) {
        const auto run = [&](size_t rows, const float* from) {
          std::vector<float> y(rows * features, NAN);
          LinearWorkspace workspace;
          const RowRun runs[] = {{.first = 0, .rows = rows, .kind = kind}};
          const LinearOutput outputs[] = {{&linear, y.data()}};
          multiply(path, from, runs, outputs, workspace, threads);
          return y;
        };
        const std::vector<float> together = run(512, x.data());
        for (const size_t row : {0u, 191u, 192u, 511u}) {
          const std::vector<float> alone = run(1, x.data() + row * 136);
          ASSERT_EQ(
              std::memcmp(alone.data(), together.data() + row * features, features * sizeof(float)),
              0);
        }
      }
    }
  }
}

TEST(Linear, values_that_f16_cannot_hold_are_kept_as_bf16) {
  const DensePath path = *choose_dense_path(DenseMode::fast);
  ThreadPool threads(2);
  const Result<Linear> small = make(path, WeightFormat::f16, 20, 16, threads);
  const Result<Linear> large = make(path, WeightFormat::f16, 20, 16, threads, 1e6f);
  ASSERT_TRUE(small.ok() && large.ok());
  EXPECT_EQ(small->format(), WeightFormat::f16);
  EXPECT_EQ(large->format(), WeightFormat::bf16);
  EXPECT_EQ(small->bytes(), large->bytes());
  std::vector<float> row(16);
  large->unpack_row(17, row.data());
  for (size_t k = 0; k < 16; ++k) {
    EXPECT_NEAR(row[k], 1e6f * value_at(17 * 16 + k), 4e-3 * 1e6);
  }
}

TEST(Linear, nonsense_is_refused) {
  const DensePath path = *choose_dense_path(DenseMode::fast);
  ThreadPool threads(1);
  EXPECT_FALSE(make(path, WeightFormat::f32, 16, 12, threads).ok());
  EXPECT_FALSE(make(path, WeightFormat::f32, 0, 8, threads).ok());
  const Result<Linear> infinite = make(path, WeightFormat::f16, 16, 8, threads, INFINITY);
  ASSERT_FALSE(infinite.ok());
  EXPECT_THAT(infinite.error().message, ::testing::HasSubstr("[0, 0]"));
  EXPECT_FALSE(Linear::pack(
                   path, WeightFormat::f32, 4, 8,
                   [](size_t, size_t rows, float* out) { std::fill_n(out, rows * 8, 1.0f); },
                   {1.0f}, threads)
                   .ok());
}

}  // namespace
}  // namespace skvis
