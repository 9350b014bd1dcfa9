// SPDX-License-Identifier: Apache-2.0
// Fused attention over one page equals attention in double over the decoded rows, for every code,
// head size, number of query rows and kernel level.
#include <gtest/gtest.h>

#include <algorithm>

#include "codec_inputs.hpp"

namespace skvis {
namespace {

struct Page {
  Block keys, values;
  std::vector<float> key_rows, value_rows;  // before encoding, [slots, head_dim]
};

Page make_page(const Code& code, uint32_t head_dim, uint32_t slots, Rows kind) {
  Page page = {Block(code, {.role = Role::key, .head_dim = head_dim, .slots = slots}),
               Block(code, {.role = Role::value, .head_dim = head_dim, .slots = slots}),
               make_rows(kind, slots, head_dim, 11), make_rows(kind, slots, head_dim, 12)};
  EXPECT_TRUE(page.keys.encode(page.key_rows.data(), slots));
  EXPECT_TRUE(page.values.encode(page.value_rows.data(), slots));
  return page;
}

// softmax(q . keys) values over the live slots, for one query row, in double.
std::vector<double> exact_attention(const float* q, const std::vector<float>& keys,
                                    const std::vector<float>& values, size_t head_dim,
                                    uint64_t live) {
  const size_t slots = keys.size() / head_dim;
  std::vector<double> logits(slots);
  double max = -1e300, sum = 0;
  for (size_t t = 0; t < slots; ++t) {
    for (size_t i = 0; i < head_dim; ++i) logits[t] += double(q[i]) * keys[t * head_dim + i];
    if (live >> t & 1) max = std::max(max, logits[t]);
  }
  std::vector<double> out(head_dim);
  for (size_t t = 0; t < slots; ++t) {
    if ((live >> t & 1) == 0) continue;
    const double weight = std::exp(logits[t] - max);
    sum += weight;
    for (size_t i = 0; i < head_dim; ++i) out[i] += weight * values[t * head_dim + i];
  }
  for (double& x : out) x /= sum;
  return out;
}

// The same through the codec's phases, for all rows; [rows, head_dim].
std::vector<float> fused_attention(const Page& page, const std::vector<float>& q, uint32_t rows,
                                   uint64_t live) {
  const Code& code = page.keys.code;
  const uint32_t slots = page.keys.context.slots;
  const size_t width = code.accumulator_width(page.values.context);
  AlignedBuffer<std::byte> query(code.query_bytes(page.keys.context, rows));
  AlignedBuffer<float> logits(rows * slots), accumulator(rows * width);
  std::fill_n(accumulator.data(), accumulator.size(), 0.0f);
  code.prepare_query(page.keys.context, q.data(), rows, query.data());
  code.codec->score(page.keys.context, page.keys.bytes.data(), query.data(), rows, logits.data(),
                    nullptr);
  const kernels::Kernels& kernels = kernels::active_kernels();
  std::vector<float> sums(rows);
  for (uint32_t r = 0; r < rows; ++r) {
    float* row = logits.data() + r * slots;
    for (uint32_t t = 0; t < slots; ++t) {
      if ((live >> t & 1) == 0) row[t] = -std::numeric_limits<float>::infinity();
    }
    sums[r] = kernels.exp_sum(row, slots, kernels.row_max(row, slots));
  }
  code.codec->accumulate(page.values.context, page.values.bytes.data(), logits.data(), rows,
                         accumulator.data(), page.values.bytes.data());
  std::vector<float> out(rows * page.keys.context.head_dim);
  code.finish(page.values.context, accumulator.data(), sums.data(), rows, out.data());
  for (size_t i = 0; i < out.size(); ++i) out[i] /= sums[i / page.keys.context.head_dim];
  return out;
}

// Query rows for which the logits over `keys` have about the given deviation.
std::vector<float> make_queries(const std::vector<float>& keys, size_t head_dim, uint32_t rows,
                                double deviation) {
  std::vector<float> q = make_rows(Rows::random, rows, head_dim, 13);
  double energy = 0;
  for (const float x : keys) energy += double(x) * x;
  const double slots = double(keys.size()) / double(head_dim);
  const double size = std::sqrt(energy / slots);
  for (float& x : q) x = static_cast<float>(x * deviation / std::max(size, 1e-20));
  return q;
}

class Fused : public testing::TestWithParam<kernels::Level> {
 protected:
  void SetUp() override { ASSERT_TRUE(kernels::force_level(kernels::level_name(GetParam())).ok()); }

  // The largest ||found - expected|| / ||expected|| of a query row, as a share of what is allowed.
  double worst_share(const Code& code, uint32_t head_dim, uint32_t slots, uint32_t rows, Rows kind,
                     double deviation, uint64_t live) const {
    const Page page = make_page(code, head_dim, slots, kind);
    const auto keys = page.keys.decode(), values = page.values.decode();
    const auto q = make_queries(page.key_rows, head_dim, rows, deviation);
    const auto found = fused_attention(page, q, rows, live);
    double worst = 0;
    for (uint32_t r = 0; r < rows; ++r) {
      const float* row = q.data() + r * head_dim;
      const auto expected = exact_attention(row, keys, values, head_dim, live);
      const auto ideal = exact_attention(row, page.key_rows, page.value_rows, head_dim, live);
      const double error =
          std::sqrt(relative_square_error(&found[r * head_dim], expected.data(), head_dim));
      const double own = std::sqrt(relative_square_error(expected.data(), ideal.data(), head_dim));
      const bool degenerate = kind == Rows::constant || kind == Rows::denormal;
      const double allowed = GetParam() == kernels::Level::scalar && !degenerate ? 1e-5
                             : code.codec->name != "int4"                        ? 1e-3
                             : degenerate                                        ? 1e-2
                                                                                 : 0.1 * own;
      worst = std::max(worst, error / allowed);
    }
    return worst;
  }
};

constexpr uint64_t kAll = ~uint64_t{0};

TEST_P(Fused, page_attention_equals_attention_over_decoded_rows) {
  double worst_of_int4 = 0;
  for (const Code& code : all_codes()) {
    if (!code.fused()) continue;
    for (const uint32_t head_dim : kHeadDims) {
      for (const uint32_t rows : {1u, 2u, 3u, 4u, 7u, 8u}) {
        for (const Rows kind : {Rows::random, Rows::heavy_tailed, Rows::outlier_channels}) {
          for (const double deviation : {1.0, 3.0}) {
            const double share = worst_share(code, head_dim, 64, rows, kind, deviation, kAll);
            EXPECT_LE(share, 1) << code.text() << " head_dim " << head_dim << " rows " << rows
                                << " kind " << static_cast<int>(kind) << " dev " << deviation;
            if (code.codec->name == "int4") worst_of_int4 = std::max(worst_of_int4, share);
          }
        }
      }
    }
  }
  RecordProperty("worst_share_of_the_allowed_error_of_int4", std::to_string(worst_of_int4));
}

TEST_P(Fused, dead_slots_and_smaller_pages_change_nothing_else) {
  for (const Code& code : all_codes()) {
    if (!code.fused()) continue;
    for (const uint32_t head_dim : {40u, 64u, 128u}) {
      for (const uint32_t slots : {16u, 48u, 64u}) {
        for (const uint64_t live : {uint64_t{1}, uint64_t{0x8001}, uint64_t{0xa5c3}}) {
          const double share = worst_share(code, head_dim, slots, 4, Rows::random, 1, live);
          EXPECT_LE(share, 1) << code.text() << " " << head_dim << " " << slots << " " << live;
        }
      }
    }
  }
}

TEST_P(Fused, degenerate_rows_stay_within_one_percent) {
  for (const Code& code : all_codes()) {
    if (!code.fused()) continue;
    for (const uint32_t head_dim : {32u, 80u, 128u}) {
      EXPECT_LE(worst_share(code, head_dim, 64, 4, Rows::constant, 1, kAll), 1)
          << code.text() << " " << head_dim;
      const Page page = make_page(code, head_dim, 64, Rows::zero);
      const std::vector<float> q = make_rows(Rows::random, 4, head_dim, 14);
      for (const float x : fused_attention(page, q, 4, kAll)) EXPECT_EQ(x, 0) << code.text();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(levels, Fused,
                         testing::ValuesIn(kernels::available_levels().begin(),
                                           kernels::available_levels().end()),
                         [](const auto& info) {
                           return std::string(kernels::level_name(info.param));
                         });

}  // namespace
}  // namespace skvis
