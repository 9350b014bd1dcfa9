// SPDX-License-Identifier: Apache-2.0
// Whole steps against float64: sinks, exact tail, sliding windows, block masks, mixed rows, and
// what attention hands out beside its result.
#include <gtest/gtest.h>

#include <numeric>

#include "attention_testing.hpp"

namespace skvis {
namespace {

constexpr uint32_t kSeed = 11;

struct Setting {
  std::string plan;
  std::vector<uint32_t> window;
  uint32_t length;  // tokens before the step
};

std::vector<Setting> settings() {
  const std::string tail = R"("settle": 64, "sinks": 5, "exact": 40)";
  const std::string keep = R"("settle": 48, "sinks": 4, "recent": 16, "keep":
      {"selector": "streaming", "table": [[0.3, 0.9], [1.0, 0.5]]})";
  return {{plan_text("int8", "f16", tail), {0, 0}, 0},
          {plan_text("int8", "f16", tail), {0, 0}, 3},
          {plan_text("f16", "int8", tail), {0, 100}, 250},
          {plan_text("int8", "int8", tail), {30, 7}, 333},
          {plan_text("bf16", "f32", R"("settle": 64, "sinks": 64, "exact_type": "bf16")"),
           {70, 0},
           200},
          {plan_text("f32", "f32", R"("settle": 1000, "exact_type": "f32")"), {33, 0}, 150},
          {plan_text("int8", "f32", keep), {0, 0}, 300},
          {plan_text("int8", "int8", R"("settle": 256, "sinks": 4)"), {1, 300}, 700}};
}

class Step : public ::testing::Test {
 protected:
  static constexpr uint32_t kLayers = 2;

  void start(const Setting& setting, uint32_t group = 3) {
    step_.reset();
    sequence_.reset();
    bench_ =
        std::make_unique<Bench>(make_shape(kLayers, 2, group, 48, setting.window), setting.plan, 2);
    sequence_ = std::make_unique<SequenceCache>(bench_->open());
    while (sequence_->length() < setting.length) {
      bench_->fill(*sequence_, sequence_->slice(setting.length - sequence_->length()), kSeed,
                   RowsLike::normal);
      if (bench_->layout.plan().settle.is_grid_point(sequence_->length())) {
        ASSERT_TRUE(settle(*sequence_, GivenStatistics(), bench_->threads).ok());
      }
    }
  }
  uint32_t begin_of(uint32_t layer, uint32_t position) const {
    return window_begin(bench_->shape().window[layer], position);
  }
  // Runs a step of `rows` rows and leaves it uncommitted.
  void run(uint32_t rows, RowKind kind, StepMask mask, const StepRequests& requests) {
    const CacheShape& shape = bench_->shape();
    first_ = sequence_->length();
    const SequenceSlice slice{
        .sequence = sequence_.get(), .rows = rows, .kind = kind, .mask = mask};
    auto step = AttentionStep::begin({&slice, 1}, bench_->threads, requests);
    ASSERT_TRUE(step.ok());
    step_ = std::move(step).value();
    inputs_.assign(kLayers, {});
    out_.assign(kLayers, std::vector<float>(rows * shape.query_heads * shape.head_dim, NAN));
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      inputs_[layer].add(shape, kSeed + 1, layer, first_, rows);
      step_->attend(inputs_[layer].view(layer, bench_->rotary), out_[layer].data());
    }
  }
  std::vector<double> query(uint32_t layer, uint32_t row, uint32_t q_head) const {
    const CacheShape& shape = bench_->shape();
    return rotated_query(
        shape, bench_->rotary, first_ + row,
        inputs_[layer].q.data() + (row * shape.query_heads + q_head) * shape.head_dim);
  }

  std::unique_ptr<Bench> bench_;
  std::unique_ptr<SequenceCache> sequence_;
  std::unique_ptr<AttentionStep> step_;
  uint32_t first_ = 0;
  std::vector<StepInput> inputs_;
  std::vector<std::vector<float>> out_;
};

TEST_F(Step, equals_float64_with_sinks_tails_windows_and_masks) {
  for (const Setting& setting : settings()) {
    start(setting);
    if (HasFailure()) return;
    for (const auto& [kind, mask] : {std::pair{RowKind::prompt, StepMask::causal},
                                     {RowKind::generated, StepMask::causal},
                                     {RowKind::prompt, StepMask::block},
                                     {RowKind::generated, StepMask::block}}) {
      const uint32_t rows = sequence_->slice(kind == RowKind::prompt ? 77 : 5);
      run(rows, kind, mask, {.log_sum_exp = true});
      if (HasFailure()) return;
      const CacheShape& shape = bench_->shape();
      for (uint32_t layer = 0; layer < kLayers; ++layer) {
        for (uint32_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
          const DecodedRows decoded(*sequence_, shape.index({layer, kv_head}));
          for (uint32_t row = 0; row < rows; ++row) {
            for (uint32_t g = 0; g < shape.group_size(); ++g) {
              const uint32_t q_head = kv_head * shape.group_size() + g;
              const uint32_t end = first_ + (mask == StepMask::block ? rows : row + 1);
              const Reference reference = reference_attention(
                  shape, decoded, query(layer, row, q_head), begin_of(layer, first_ + row), end);
              const size_t i = row * shape.query_heads + q_head;
              const double error = distance(out_[layer].data() + i * shape.head_dim,
                                            reference.out.data(), shape.head_dim);
              ASSERT_LE(error, 1e-4)
                  << setting.plan << " at " << first_ << " layer " << layer << " row " << row
                  << " kind " << static_cast<int>(kind) << " mask " << static_cast<int>(mask);
              ASSERT_NEAR(step_->records(0)[layer].log_sum_exp[i], reference.log_sum_exp, 1e-3);
            }
          }
        }
      }
      step_.reset();
      ASSERT_EQ(sequence_->length(), first_);  // what was not committed is gone
    }
  }
}

TEST_F(Step, hands_out_column_sums_and_probability_rows) {
  for (const Setting& setting : settings()) {
    for (const GroupReduce reduce :
         {GroupReduce::none, GroupReduce::mean, GroupReduce::max, GroupReduce::sum}) {
      start(setting);
      if (HasFailure()) return;
      const uint32_t rows = sequence_->slice(9);
      for (const auto& [columns, wanted] :
           {std::pair{QueryRows::last, std::vector<uint32_t>{rows - 2, rows - 1}},
            {QueryRows::sampled, {}},
            {QueryRows::all, {}}}) {
        run(rows, RowKind::generated, StepMask::causal,
            {.probability_rows = true, .columns = columns, .column_rows = 2, .reduce = reduce});
        if (HasFailure()) return;
        std::vector<uint32_t> summed = wanted;
        if (columns == QueryRows::all) {
          summed.resize(rows);
          std::iota(summed.begin(), summed.end(), 0u);
        } else if (columns == QueryRows::sampled) {
          summed = {rows - 1 - rows / 2, rows - 1};
        }
        const CacheShape& shape = bench_->shape();
        const size_t group = shape.group_size();
        for (uint32_t layer = 0; layer < kLayers; ++layer) {
          for (uint32_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
            const DecodedRows decoded(*sequence_, shape.index({layer, kv_head}));
            const size_t count = decoded.rows.size();
            const size_t sums = reduce == GroupReduce::none ? group : 1;
            std::vector<double> expected(sums * count);
            std::vector<double> each;
            for (uint32_t row = 0; row < rows; ++row) {
              std::vector<std::vector<double>> heads;
              for (uint32_t g = 0; g < group; ++g) {
                heads.push_back(reference_attention(
                                    shape, decoded,
                                    query(layer, row, static_cast<uint32_t>(kv_head * group + g)),
                                    begin_of(layer, first_ + row), first_ + row + 1)
                                    .probabilities);
                each.insert(each.end(), heads.back().begin(), heads.back().end());
              }
              if (std::find(summed.begin(), summed.end(), row) == summed.end()) continue;
              for (size_t i = 0; i < count; ++i) {
                double largest = 0;
                double sum = 0;
                for (uint32_t g = 0; g < group; ++g) {
                  largest = std::max(largest, heads[g][i]);
                  sum += heads[g][i];
                  if (reduce == GroupReduce::none) expected[g * count + i] += heads[g][i];
                }
                if (reduce == GroupReduce::max) expected[i] += largest;
                if (reduce == GroupReduce::sum) expected[i] += sum;
                if (reduce == GroupReduce::mean) expected[i] += sum / static_cast<double>(group);
              }
            }
            const LayerRecord& record = step_->records(0)[layer];
            ASSERT_EQ(record.columns[kv_head].size(), expected.size());
            EXPECT_LE(distance(record.columns[kv_head].data(), expected.data(), expected.size()),
                      1e-4);
            ASSERT_EQ(record.probabilities[kv_head].size(), each.size());
            EXPECT_LE(distance(record.probabilities[kv_head].data(), each.data(), each.size()),
                      1e-4);
            if (HasFailure()) FAIL() << setting.plan << " layer " << layer;
          }
        }
        step_.reset();
      }
    }
  }
}

TEST_F(Step, hands_out_queries_and_keys_before_and_after_rope_with_positions) {
  start(settings()[2]);
  run(4, RowKind::prompt, StepMask::causal, {.queries_and_keys = true});
  const CacheShape& shape = bench_->shape();
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const LayerRecord& record = step_->records(0)[layer];
    EXPECT_EQ(record.positions,
              (std::vector<uint32_t>{first_, first_ + 1, first_ + 2, first_ + 3}));
    EXPECT_EQ(record.q_before_rope, inputs_[layer].q);
    EXPECT_EQ(record.k_before_rope, inputs_[layer].k);
    const auto expect_rotated = [&](const std::vector<float>& before,
                                    const std::vector<float>& after, uint32_t heads) {
      ASSERT_EQ(before.size(), after.size());
      for (size_t i = 0; i < before.size(); i += shape.head_dim) {
        const auto row = static_cast<uint32_t>(i / shape.head_dim / heads);
        const auto expected = rotated_query(shape, bench_->rotary, first_ + row, &before[i]);
        EXPECT_LE(distance(&after[i], expected.data(), shape.head_dim), 1e-6);
      }
    };
    expect_rotated(record.q_before_rope, record.q_after_rope, shape.query_heads);
    expect_rotated(record.k_before_rope, record.k_after_rope, shape.kv_heads);
  }
}

// What selectors see at a grid point comes from the stored queries, whatever slices brought them.
TEST_F(Step, stored_queries_give_the_column_sums_of_the_last_rows) {
  const std::string plan =
      plan_text("int8", "int8", R"("settle": 96, "sinks": 4, "exact_type": "f32",
      "keep": {"selector": "snapkv", "ratio": 0.6, "observe": 20})");
  start({plan, {0, 40}, 0});
  const CacheShape& shape = bench_->shape();
  std::vector<StepInput> all(kLayers);
  for (const uint32_t rows : {50u, 1u, 30u, 15u}) {
    run(rows, RowKind::prompt, StepMask::causal, {});
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      all[layer].q.insert(all[layer].q.end(), inputs_[layer].q.begin(), inputs_[layer].q.end());
    }
    step_->commit_all();
    step_.reset();
  }
  inputs_ = all;
  first_ = 0;
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    for (uint32_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      const uint32_t head = shape.index({layer, kv_head});
      const DecodedRows decoded(*sequence_, head);
      const size_t count = decoded.rows.size();
      std::vector<float> sums(shape.group_size() * count);
      StoredAttention().column_sums(*sequence_, head, 20, GroupReduce::none, 0, sums);
      // Over the newer rows alone, what attention divided by stands for the others.
      std::vector<float> newer(sums.size(), -1.0f);
      StoredAttention().column_sums(*sequence_, head, 20, GroupReduce::none, 60, newer);
      for (size_t i = 0; i < sums.size(); ++i) {
        const bool counts = decoded.rows[i % count].position >= 60;
        EXPECT_EQ(newer[i], counts ? sums[i] : 0.0f) << i;
      }
      for (uint32_t g = 0; g < shape.group_size(); ++g) {
        std::vector<double> expected(count);
        for (uint32_t position = 96 - 20; position < 96; ++position) {
          const Reference reference = reference_attention(
              shape, decoded, query(layer, position, kv_head * shape.group_size() + g),
              begin_of(layer, position), position + 1);
          for (size_t i = 0; i < count; ++i) expected[i] += reference.probabilities[i];
        }
        EXPECT_LE(distance(sums.data() + g * count, expected.data(), count), 1e-4);
      }
    }
  }
}

TEST_F(Step, a_step_that_finds_the_pool_full_appends_to_no_sequence) {
  const CacheShape shape = make_shape(1, 1, 1, 48);
  Bench bench(shape, plan_text("int8", "int8", R"("settle": 4096)"), 1, 1 << 20);
  SequenceCache first = bench.open();
  SequenceCache second = bench.open();
  ASSERT_TRUE(first.append(10).ok());
  first.commit(10);
  const PoolFigures before = bench.pool.figures();
  const std::vector<SequenceSlice> slices = {
      {.sequence = &first, .first_row = 0, .rows = 100},
      {.sequence = &second, .first_row = 100, .rows = 16000}};
  const auto step = AttentionStep::begin(slices, bench.threads);
  ASSERT_FALSE(step.ok());
  EXPECT_NE(step.error().message.find("full"), std::string::npos);
  EXPECT_EQ(bench.pool.figures(), before);
  EXPECT_EQ(first.length(), 10u);
  EXPECT_EQ(second.length(), 0u);
}

}  // namespace
}  // namespace skvis
