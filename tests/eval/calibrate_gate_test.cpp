// SPDX-License-Identifier: Apache-2.0
// Gates and query filters on a trained model: from texts to plans that run.
#include "eval/calibrate_gate.hpp"

#include <gmock/gmock.h>

#include "cache/rows.hpp"
#include "engine/engine_testing.hpp"
#include "eval/calibrate.hpp"
#include "eval/kept.hpp"
#include "eval/query_filters.hpp"
#include "plan/data.hpp"

namespace skvis::testing {
namespace {

std::vector<uint32_t> tiny_ids(size_t begin, size_t end) {
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  return {ids.begin() + static_cast<ptrdiff_t>(begin), ids.begin() + static_cast<ptrdiff_t>(end)};
}

SequenceCache read_all(Engine& engine, std::span<const uint32_t> ids, uint32_t chunk = 100) {
  const auto count = static_cast<uint32_t>(ids.size());
  auto sequence = engine.open_sequence(count, count);
  EXPECT_TRUE(sequence.ok()) << sequence.error().message;
  const auto read = engine.read(*sequence, ids, chunk, 0, {});
  EXPECT_TRUE(read.ok()) << read.error().message;
  return std::move(*sequence);
}

class TinyGate : public ::testing::Test {
 protected:
  // Fits gates to all but the last 100 tokens once, and writes their file.
  static void SetUpTestSuite() {
    engine_ = tiny_engine({.plan = "kvzip:1.0 settle=prompt"});
    const size_t count = read_ids(source_path("models/tiny/ids.json")).size();
    texts_ = {tiny_ids(0, count / 2), tiny_ids(count / 2, count - 100)};
    held_out_ = {tiny_ids(count - 100, count)};
    auto rows = gate_rows(*engine_, texts_);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    rows_ = std::move(*rows);
    gates_ = fit_gates(rows_, {.epochs = 30, .batch = 32}, engine_->threads());
    data_ =
        std::filesystem::temp_directory_path() / fmt::format("skvis-gate-{}.safetensors", getpid());
    ASSERT_TRUE(write_selector_data(data_, gate_tensors(gates_)).ok());
  }
  static void TearDownTestSuite() {
    std::filesystem::remove(data_);
    engine_.reset();
  }
  static std::unique_ptr<Engine> with_gate(const std::string& rest) {
    return tiny_engine({.plan = "keep=gate data=" + data_.string() + " " + rest});
  }

  static inline std::unique_ptr<Engine> engine_;
  static inline std::vector<std::vector<uint32_t>> texts_, held_out_;
  static inline GateRows rows_;
  static inline std::vector<GateLayer> gates_;
  static inline std::filesystem::path data_;
};

TEST_F(TinyGate, targets_are_the_ranks_of_kvzips_scores_and_inputs_are_there_for_each) {
  ASSERT_EQ(rows_.rows, texts_[0].size() + texts_[1].size() - 8);
  SequenceCache sequence = read_all(*engine_, texts_[0]);
  const size_t count = texts_[0].size() - 4;
  std::vector<double> scores, targets;
  for (uint32_t head = 0; head < engine_->layout().heads(); ++head) {
    const HeadId id = engine_->plan().shape.head(head);
    for (const LiveRow& row : live_rows(sequence, head, sequence.length())) {
      if (row.position < 4) continue;
      scores.push_back(*row_state(sequence, head, row));
      targets.push_back(rows_.targets[id.layer][(row.position - 4) * rows_.heads + id.head]);
    }
  }
  EXPECT_EQ(scores.size(), count * engine_->layout().heads());
  EXPECT_NEAR(spearman(scores, targets), 1, 1e-9);
  for (const auto& layer : rows_.inputs) EXPECT_EQ(layer.size(), rows_.rows * rows_.hidden);
}

TEST_F(TinyGate, gates_order_held_out_rows_as_kvzip_does) {
  const auto judged = gate_rows(*engine_, held_out_);
  ASSERT_TRUE(judged.ok());
  const GateQuality fitted = judge_gates(gates_, *judged, engine_->threads());
  std::vector<GateLayer> blank;
  for (uint32_t layer = 0; layer < gates_.size(); ++layer) {
    blank.emplace_back(gates_[0].shape(), layer);
  }
  EXPECT_GT(fitted.all, 0.4);
  EXPECT_GT(fitted.all, judge_gates(blank, *judged, engine_->threads()).all + 0.2);
}

TEST_F(TinyGate, rows_carry_their_gates_score_from_the_moment_they_are_written) {
  const auto engine = with_gate("ratio=1.0 settle=prompt");
  ASSERT_NE(engine, nullptr);
  const GateRows& rows = rows_;
  for (const uint32_t chunk : {7u, 256u}) {
    SequenceCache sequence = read_all(*engine, texts_[0], chunk);
    for (uint32_t head = 0; head < engine->layout().heads(); ++head) {
      const HeadId id = engine->plan().shape.head(head);
      for (const LiveRow& row : live_rows(sequence, head, sequence.length())) {
        if (row.position < 4 || row.position % 20 != 0) continue;
        std::vector<float> input, scores(rows.heads);
        for (size_t c = 0; c < rows.hidden; ++c) {
          input.push_back(to_float(rows.inputs[id.layer][(row.position - 4) * rows.hidden + c]));
        }
        gates_[id.layer].score(input, scores);
        // The inputs were rounded to BF16 for the fit.
        ASSERT_NEAR(*row_state(sequence, head, row), scores[id.head], 0.03);
      }
    }
  }
}

TEST_F(TinyGate, slices_change_nothing_and_the_grid_settles_by_the_gate) {
  const auto engine = with_gate("ratio=0.4 budget=cross-layer safeguard=0 settle=64 recent=8");
  ASSERT_NE(engine, nullptr);
  const KeptRows kept = kept_rows(read_all(*engine, texts_[0], 64));
  EXPECT_EQ(kept_rows(read_all(*engine, texts_[0], 5)), kept);
  std::vector<size_t> sizes;
  for (const auto& head : kept) sizes.push_back(head.size());
  EXPECT_NE(*std::min_element(sizes.begin(), sizes.end()),
            *std::max_element(sizes.begin(), sizes.end()));
}

TEST_F(TinyGate, a_threshold_of_one_leaves_what_is_protected_and_one_of_zero_everything) {
  const size_t tokens = texts_[0].size();
  for (const auto& [threshold, rows] : {std::pair{"1", size_t{4 + 16}}, std::pair{"0", tokens}}) {
    const auto engine =
        with_gate(fmt::format("ratio=1.0 threshold={} settle=prompt sinks=4 recent=16", threshold));
    ASSERT_NE(engine, nullptr);
    for (const auto& head : kept_rows(read_all(*engine, texts_[0]))) EXPECT_EQ(head.size(), rows);
  }
}

TEST(QueryFilters, are_unit_vectors_along_which_attention_grows_and_make_a_plan) {
  const auto engine = tiny_engine({.plan = "h2o:1.0 settle=prompt"});
  const std::vector<std::vector<uint32_t>> texts = {tiny_ids(0, 150), tiny_ids(150, 300)};
  const auto filters = query_filters(*engine, texts);
  ASSERT_TRUE(filters.ok()) << filters.error().message;
  const CacheShape& shape = engine->plan().shape;
  double mean = 0;
  for (uint32_t head = 0; head < shape.heads(); ++head) {
    double norm = 0;
    for (uint32_t c = 0; c < shape.head_dim; ++c) {
      norm += std::pow(filters->directions[head * shape.head_dim + c], 2);
    }
    EXPECT_NEAR(norm, 1, 1e-5);
    EXPECT_GT(filters->energy[head], 1.0 / shape.head_dim);
    EXPECT_LE(filters->energy[head], 1 + 1e-9);
    EXPECT_GE(filters->correlations[head], 0);
    mean += filters->correlations[head] / shape.heads();
  }
  EXPECT_GT(mean, 0.2);

  const auto path = std::filesystem::temp_directory_path() /
                    fmt::format("skvis-filters-{}.safetensors", getpid());
  NamedTensors tensors;
  tensors["q_filters"] = {{shape.layers, shape.kv_heads, shape.head_dim}, filters->directions};
  ASSERT_TRUE(write_selector_data(path, tensors).ok());
  const auto filtered = tiny_engine({.plan = "q-filters:0.5 settle=prompt data=" + path.string()});
  ASSERT_NE(filtered, nullptr);
  for (const auto& head : kept_rows(read_all(*filtered, texts[0]))) EXPECT_EQ(head.size(), 75u);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace skvis::testing
