// SPDX-License-Identifier: Apache-2.0
// Attention over pages against attention in float64 over the decoded rows, for every code.
#include <gtest/gtest.h>

#include "attention_testing.hpp"

namespace skvis {
namespace {

constexpr std::array<uint32_t, 7> kHeadDims = {32, 48, 64, 80, 96, 128, 256};
constexpr std::array<uint32_t, 7> kGroups = {1, 2, 3, 4, 7, 8, 16};
constexpr std::array<RowsLike, 3> kKinds = {RowsLike::normal, RowsLike::heavy_tailed,
                                            RowsLike::outlier_channels};

std::vector<std::string> codes() {
  std::vector<std::string> names;
  for (const Codec* codec : codecs()) names.emplace_back(codec->name);
  names.emplace_back("int4 hadamard");
  names.emplace_back("int8 hadamard");
  return names;
}

// Takes rows out of a table at random, as a selector would without repacking.
void drop_at_random(SequenceCache& sequence, uint32_t head, uint64_t seed) {
  auto& pages = const_cast<HeadCache&>(sequence.head(head)).sealed.pages;
  for (size_t i = 0; i < pages.size(); ++i) {
    // Thin, full, empty and half-full pages.
    const uint64_t mask = std::array<uint64_t, 4>{mix(seed, i) & mix(seed, i, 1), ~uint64_t{0}, 0,
                                                  mix(seed, i)}[mix(seed, i, 2) % 4];
    sequence.pool().drop_live(pages[i].page, pages[i].live & ~mask);
    pages[i].live &= mask;
  }
}

struct Worst {
  double scalar = 0;
  double exact = 0;
  double coded = 0;  // relative to the code's own error
};

class Exactness : public ::testing::TestWithParam<std::string> {
 protected:
  void TearDown() override {
    ASSERT_TRUE(kernels::force_level(kernels::level_name(kernels::available_levels().back())).ok());
  }

  // One shape, one length: every level and both kinds of rows against float64.
  void check(uint32_t head_dim, uint32_t group, uint32_t length, RowsLike like, double bound = 0) {
    const uint64_t seed = mix(head_dim, group, length);
    Bench bench(make_shape(1, 2, group, head_dim),
                plan_text(GetParam(), GetParam(), R"("settle": "prompt", "exact": 0)"), 1,
                64 << 20);
    ASSERT_TRUE(kernels::force_level("scalar").ok());
    SequenceCache sequence = bench.open();
    DecodedRows original[2] = {{sequence, 0}, {sequence, 1}};
    if (length > 0) {
      bench.fill(sequence, length, seed, like);
      for (uint32_t head = 0; head < 2; ++head) original[head] = DecodedRows(sequence, head);
      const auto settled = settle(sequence, GivenStatistics(), bench.threads);
      ASSERT_TRUE(settled.ok()) << settled.error().message;
      drop_at_random(sequence, 1, seed);
    }
    const uint32_t rows = 2;
    StepInput input;
    input.add(bench.shape(), seed, 0, length, rows, RowsLike::normal);
    std::vector<float> out(rows * group * 2 * head_dim);

    std::vector<Reference> references;
    std::vector<double> own_errors;
    for (const kernels::Level level : kernels::available_levels()) {
      ASSERT_TRUE(kernels::force_level(kernels::level_name(level)).ok());
      for (const RowKind kind : {RowKind::prompt, RowKind::generated}) {
        const SequenceSlice slice{.sequence = &sequence, .rows = rows, .kind = kind};
        auto step = AttentionStep::begin({&slice, 1}, bench.threads);
        ASSERT_TRUE(step.ok());
        std::fill(out.begin(), out.end(), NAN);
        (*step)->attend(input.view(0, bench.rotary), out.data());
        if (references.empty()) {
          make_references(bench, sequence, original, input, length, rows, references, own_errors);
        }
        for (size_t i = 0; i < references.size(); ++i) {
          const double error =
              distance(out.data() + i * head_dim, references[i].out.data(), head_dim);
          const std::string where = fmt::format(
              "{} head_dim {} group {} length {} rows like {} at {} ({} row, query head {})",
              GetParam(), head_dim, group, length, static_cast<int>(like),
              kernels::level_name(level), kind == RowKind::prompt ? "prompt" : "generated", i);
          expect(level, error, own_errors[i], bound, where);
        }
        if (HasFailure()) return;
      }
    }
  }

  void expect(kernels::Level level, double error, double own_error, double bound,
              const std::string& where) {
    const bool exact = GetParam().find("int4") == std::string::npos;
    if (level == kernels::Level::scalar) {
      worst_.scalar = std::max(worst_.scalar, error);
      EXPECT_LE(error, std::max(bound, 1e-5)) << where;
    } else if (bound > 0) {
      EXPECT_LE(error, bound) << where;
    } else if (exact) {
      worst_.exact = std::max(worst_.exact, error);
      EXPECT_LE(error, 1e-3) << where;
    } else {
      worst_.coded = std::max(worst_.coded, error / std::max(own_error, 1e-4));
      // Where the code itself costs nothing, operands of 16 bits still cost something.
      EXPECT_LE(error, std::max(own_error / 10, 1e-4)) << where << ", own error " << own_error;
    }
  }

  // References of [rows, query heads], and what the code itself costs there.
  static void make_references(const Bench& bench, const SequenceCache& sequence,
                              const DecodedRows* original, const StepInput& input, uint32_t length,
                              uint32_t rows, std::vector<Reference>& references,
                              std::vector<double>& own_errors) {
    const CacheShape& shape = bench.shape();
    const DecodedRows decoded[2] = {{sequence, 0}, {sequence, 1}};
    // The same rows with what they were before they were encoded.
    DecodedRows before[2] = {decoded[0], decoded[1]};
    for (uint32_t head = 0; head < 2; ++head) {
      for (size_t i = 0; i < before[head].rows.size(); ++i) {
        const uint32_t position = before[head].rows[i].position;
        if (position >= length) continue;
        for (size_t c = 0; c < shape.head_dim; ++c) {
          const size_t from = size_t{position} * shape.head_dim + c;
          before[head].keys[i * shape.head_dim + c] = original[head].keys[from];
          before[head].values[i * shape.head_dim + c] = original[head].values[from];
        }
      }
    }
    for (uint32_t row = 0; row < rows; ++row) {
      for (uint32_t q_head = 0; q_head < shape.query_heads; ++q_head) {
        const uint32_t head = q_head / shape.group_size();
        const float* q_row = input.q.data() + (row * shape.query_heads + q_head) * shape.head_dim;
        const auto q = rotated_query(shape, bench.rotary, length + row, q_row);
        references.push_back(reference_attention(shape, decoded[head], q, 0, length + row + 1));
        const Reference plain = reference_attention(shape, before[head], q, 0, length + row + 1);
        own_errors.push_back(
            distance(references.back().out.data(), plain.out.data(), shape.head_dim));
      }
    }
  }

  void report() const {
    RecordProperty("scalar", fmt::format("{:.2e}", worst_.scalar));
    fmt::print("{}: scalar {:.2e}, exact {:.2e}, of the code's own error {:.4f}\n", GetParam(),
               worst_.scalar, worst_.exact, worst_.coded);
  }

  Worst worst_;
};

TEST_P(Exactness, every_shape_at_short_lengths) {
  for (size_t d = 0; d < kHeadDims.size(); ++d) {
    for (size_t g = 0; g < kGroups.size(); ++g) {
      size_t l = 0;
      for (const uint32_t length : {0u, 1u, 63u, 64u, 65u}) {
        check(kHeadDims[d], kGroups[g], length, kKinds[(d + g + l++) % kKinds.size()]);
        if (HasFailure()) return;
      }
    }
  }
  report();
}

TEST_P(Exactness, long_lengths_over_every_head_size_and_group) {
  size_t kind = 0;
  for (size_t i = 0; i < kHeadDims.size(); ++i) {
    check(kHeadDims[i], kGroups[(i + 2) % kGroups.size()], 1000, kKinds[kind++ % kKinds.size()]);
    check(kHeadDims[(i * 3) % 7], kGroups[i], 1000, kKinds[kind++ % kKinds.size()]);
    if (HasFailure()) return;
  }
  check(64, 3, 4097, RowsLike::normal);
  check(128, 4, 4097, RowsLike::outlier_channels);
  check(80, 2, 4097, RowsLike::heavy_tailed);
  check(256, 1, 4097, RowsLike::normal);
  report();
}

TEST_P(Exactness, degenerate_rows) {
  for (const RowsLike like : {RowsLike::zeros, RowsLike::constants, RowsLike::denormals}) {
    for (const uint32_t head_dim : {32u, 80u, 128u}) {
      for (const uint32_t length : {1u, 64u, 65u, 300u}) check(head_dim, 3, length, like, 1e-2);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, Exactness, ::testing::ValuesIn(codes()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

}  // namespace
}  // namespace skvis
