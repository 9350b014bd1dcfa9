// SPDX-License-Identifier: Apache-2.0
// Every level against plain float64 loops, and every row against itself in other company.
#include "kernels/dense.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned.hpp"

namespace skvis {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::f32, WeightFormat::f16, WeightFormat::bf16};

float stored(WeightFormat format, float value) {
  if (format == WeightFormat::f16) return to_float(to_half(value));
  if (format == WeightFormat::bf16) return to_float(to_bfloat16(value));
  return value;
}

struct Problem {
  WeightFormat format;
  size_t inputs, features, rows;
  std::vector<float> weights, x, bias;
  std::vector<BFloat16> x_bf16;
  AlignedBuffer<std::byte> packed;

  Problem(const DenseKernels& kernels, WeightFormat weight_format, size_t in, size_t out, size_t n)
      : format(weight_format), inputs(in), features(out), rows(n) {
    std::mt19937 random(static_cast<unsigned>(in * 31 + out));
    std::normal_distribution<float> normal;
    weights.resize(out * in);
    for (float& w : weights) w = 0.1f * normal(random);
    x.resize(n * in);
    for (float& v : x) v = normal(random);
    bias.resize(out);
    for (float& b : bias) b = normal(random);
    for (const float v : x) x_bf16.push_back(to_bfloat16(v));
    const size_t strips = (out + kStripFeatures - 1) / kStripFeatures;
    packed = AlignedBuffer<std::byte>(strips * strip_bytes(format, in));
    std::vector<float> scratch(kStripFeatures * in);
    for (size_t s = 0; s < strips; ++s) {
      const size_t first = s * kStripFeatures;
      pack_strip(kernels, format, weights.data() + first * in,
                 std::min(kStripFeatures, out - first), in, scratch.data(),
                 packed.data() + s * strip_bytes(format, in));
    }
  }

  LinearTile tile(size_t first_row, size_t count, float* y) const {
    return {.format = format,
            .weights = packed.data(),
            .inputs = inputs,
            .features = features,
            .x = x.data() + first_row * inputs,
            .x_bf16 = x_bf16.data() + first_row * inputs,
            .x_stride = inputs,
            .rows = count,
            .bias = bias.data(),
            .y = y,
            .y_stride = features + 3};
  }

  // Largest error relative to the norm of the terms.
  double error(const std::vector<float>& y, bool bf16) const {
    double worst = 0;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t f = 0; f < features; ++f) {
        double sum = bias[f], squares = 0;
        for (size_t k = 0; k < inputs; ++k) {
          float w = stored(format, weights[f * inputs + k]);
          if (bf16) w = to_float(to_bfloat16(w));
          const float a = bf16 ? to_float(x_bf16[r * inputs + k]) : x[r * inputs + k];
          sum += static_cast<double>(w) * a;
          squares += static_cast<double>(w) * a * w * a;
        }
        const double scale = std::sqrt(squares) + std::fabs(bias[f]);
        worst = std::max(worst, std::fabs(y[r * (features + 3) + f] - sum) / scale);
      }
    }
    return worst;
  }
};

class DenseLevel : public ::testing::TestWithParam<const DenseKernels*> {
 protected:
  const DenseKernels& kernels() const { return *GetParam(); }

  void product(const Problem& problem, bool bf16, size_t first, size_t count, float* y) {
    const LinearTile tile = problem.tile(first, count, y);
    AlignedBuffer<BFloat16> scratch(kTileFeatures * problem.inputs);
    bf16 ? kernels().linear_bf16(tile, scratch.data()) : kernels().linear(tile);
  }
};

TEST_P(DenseLevel, products_agree_with_float64) {
  for (const bool bf16 : {false, true}) {
    if (bf16 && kernels().linear_bf16 == nullptr) continue;
    for (const WeightFormat format : kFormats) {
      for (const size_t inputs : {8u, 24u, 576u, 2048u}) {
        for (const size_t features : {1u, 15u, 16u, 17u, 33u, 48u, 57u, 64u}) {
          for (const size_t rows : {1u, 2u, 5u, 13u}) {
            const Problem problem(kernels(), format, inputs, features, rows);
            std::vector<float> y(rows * (features + 3), 777.0f);
            product(problem, bf16, 0, rows, y.data());
            ASSERT_LE(problem.error(y, bf16), 2e-6 * std::sqrt(static_cast<double>(inputs)) / 4)
                << weight_format_name(format) << " " << inputs << "x" << features << " rows "
                << rows << (bf16 ? " bf16" : "");
            for (size_t r = 0; r < rows; ++r) {  // nothing is written beside the live features
              for (size_t gap = 0; gap < 3; ++gap) {
                ASSERT_EQ(y[r * (features + 3) + features + gap], 777.0f);
              }
            }
          }
        }
      }
    }
  }
}

TEST_P(DenseLevel, a_row_has_the_same_bits_alone_and_among_others) {
  for (const bool bf16 : {false, true}) {
    if (bf16 && kernels().linear_bf16 == nullptr) continue;
    for (const WeightFormat format : kFormats) {
      const size_t features = 57;
      const Problem problem(kernels(), format, 328, features, 64);
      std::vector<float> alone(64 * (features + 3), 0.0f);
      for (size_t r = 0; r < 64; ++r) {
        product(problem, bf16, r, 1, alone.data() + r * (features + 3));
      }
      for (size_t slice = 2; slice <= 64; ++slice) {
        std::vector<float> together(64 * (features + 3), 0.0f);
        for (size_t first = 0; first < 64; first += slice) {
          product(problem, bf16, first, std::min(slice, 64 - first),
                  together.data() + first * (features + 3));
        }
        ASSERT_EQ(std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)), 0)
            << weight_format_name(format) << " slices of " << slice;
      }
    }
  }
}

TEST_P(DenseLevel, packed_weights_are_read_back) {
  for (const WeightFormat format : kFormats) {
    const Problem problem(kernels(), format, 40, 23, 1);
    std::vector<float> row(40);
    for (size_t f = 0; f < 23; ++f) {
      unpack_feature(format, problem.packed.data() + f / 16 * strip_bytes(format, 40), f % 16, 40,
                     row.data());
      for (size_t k = 0; k < 40; ++k) {
        ASSERT_EQ(row[k], stored(format, problem.weights[f * 40 + k]));
      }
    }
  }
}

std::vector<float> awkward_values() {
  std::vector<float> values = {0.0f,   -0.0f,   1.0f,     -1.0f,   65504.0f, 65519.0f, 65520.0f,
                               1e-8f,  6e-8f,   -5.9e-8f, 6.1e-5f, 3e38f,    -3e38f,   1e-40f,
                               100.0f, -100.0f, 88.5f,    -88.5f,  700.0f,   -700.0f,  0.1f};
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 300; ++i) values.push_back(normal(random) * 10);
  return values;
}

TEST_P(DenseLevel, conversions_round_to_nearest_even) {
  const std::vector<float> values = awkward_values();
  for (const size_t n : {size_t{1}, size_t{17}, values.size()}) {
    std::vector<Half> halves(n);
    kernels().to_half_row(values.data(), n, halves.data());
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(halves[i].bits, to_half(values[i]).bits) << values[i];
    if (kernels().to_bfloat16_row == nullptr) continue;
    std::vector<BFloat16> rounded(n);
    kernels().to_bfloat16_row(values.data(), n, rounded.data());
    for (size_t i = 0; i < n; ++i) {
      // The machine's conversion takes subnormals for zeros.
      const float expected = std::fabs(values[i]) < 1.2e-38f ? 0.0f : values[i];
      ASSERT_EQ(rounded[i].bits & 0x7fff, to_bfloat16(expected).bits & 0x7fff) << values[i];
    }
  }
}

TEST_P(DenseLevel, rms_norm_agrees_with_float64) {
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  for (const size_t n : {8u, 32u, 48u, 80u, 576u, 1000u}) {
    std::vector<float> x(n), weight(n), y(n);
    for (size_t i = 0; i < n; ++i) x[i] = 3 * normal(random), weight[i] = 1 + normal(random);
    double squares = 0;
    for (const float v : x) squares += static_cast<double>(v) * v;
    kernels().rms_norm(x.data(), weight.data(), n, 1e-5f, y.data());
    for (size_t i = 0; i < n; ++i) {
      const double expected = x[i] / std::sqrt(squares / static_cast<double>(n) + 1e-5) * weight[i];
      ASSERT_NEAR(y[i], expected, 1e-6 * std::fabs(expected) + 1e-30);
    }
    kernels().rms_norm(x.data(), weight.data(), n, 1e-5f, x.data());
    ASSERT_EQ(x, y);  // in place
  }
}

TEST_P(DenseLevel, silu_and_sum_agree_with_float64) {
  const std::vector<float> gate = awkward_values();
  for (const size_t n : {size_t{1}, size_t{16}, gate.size()}) {
    std::vector<float> up(n), out(n), sum(n);
    for (size_t i = 0; i < n; ++i) up[i] = static_cast<float>(i % 7) - 3.0f, sum[i] = up[i];
    kernels().silu_multiply(gate.data(), up.data(), n, out.data());
    kernels().add(gate.data(), n, sum.data());
    for (size_t i = 0; i < n; ++i) {
      const double expected = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
      if (std::fabs(expected) > 3.4e38) continue;
      ASSERT_NEAR(out[i], expected, 1e-6 * std::fabs(expected) + 1e-30) << gate[i];
      ASSERT_EQ(sum[i], up[i] + gate[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(levels, DenseLevel, ::testing::ValuesIn(dense_levels()),
                         [](const auto& info) { return std::string(info.param->level); });

TEST(DenseLevels, scalar_is_always_there_and_names_are_found) {
  EXPECT_EQ(dense_levels().back()->level, "scalar");
  for (const DenseKernels* kernels : dense_levels()) {
    EXPECT_EQ(find_dense_level(kernels->level), kernels);
  }
  EXPECT_EQ(find_dense_level("mmx"), nullptr);
}

}  // namespace
}  // namespace skvis
