// SPDX-License-Identifier: Apache-2.0
// Models against logits that were computed elsewhere in float64, on every dense level.
#include <cstring>

#include "model/model_testing.hpp"

namespace skvis {
namespace {

using namespace skvis::testing;

struct Golden {
  std::string name;
  std::string model;
  std::string ids;
  std::string logits;
};

// The kinds of rows that take different paths on this model.
std::vector<RowKind> distinct_kinds(const Model& model) {
  if (model.dense_path().bf16_activations(RowKind::prompt)) {
    return {RowKind::prompt, RowKind::generated};
  }
  return {RowKind::prompt};
}

const Golden kGoldens[] = {
    {"llama_tied", "tests/data/golden/llama-tied", "ids.json", "logits.npy"},
    {"llama31_rope", "tests/data/golden/llama31-rope", "ids.json", "logits.npy"},
    {"qwen2_bias", "tests/data/golden/qwen2-bias", "ids.json", "logits.npy"},
    {"qwen3_qknorm", "tests/data/golden/qwen3-qknorm", "ids.json", "logits.npy"},
    {"tiny", "models/tiny", "ids.json", "logits_last128.npy"},
};

class GoldenModel : public ::testing::TestWithParam<Golden> {
 protected:
  void SetUp() override {
    ids_ = read_ids(folder() / GetParam().ids);
    Result<NpyArray> expected = read_npy(folder() / GetParam().logits);
    ASSERT_TRUE(expected.ok()) << expected.error().message;
    expected_ = std::move(*expected);
  }
  std::filesystem::path folder() const { return source_path(GetParam().model); }
  size_t last() const { return expected_.shape[0]; }
  // The scalar loops take seconds for the larger model and are the same for all.
  bool runs_at(const DenseKernels& kernels) const {
    return GetParam().name != "tiny" || kernels.level != "scalar";
  }

  std::vector<int32_t> ids_;
  NpyArray expected_;
  ThreadPool threads_{2};
};

TEST_P(GoldenModel, precise_logits_equal_float64) {
  for (const DenseKernels* kernels : dense_levels()) {
    if (!runs_at(*kernels)) continue;
    Result<Model> model = load_model(folder(), DenseMode::precise, kernels->level, threads_);
    ASSERT_TRUE(model.ok()) << model.error().message;
    const double error =
        relative_norm(text_logits(*model, ids_, 64, last(), threads_), expected_.data);
    RecordProperty(std::string(kernels->level), fmt::format("{:.2e}", error));
    EXPECT_LE(error, 1e-5) << kernels->level;
  }
}

TEST_P(GoldenModel, fast_logits_stay_within_what_the_arithmetic_costs) {
  for (const DenseKernels* kernels : dense_levels()) {
    if (!runs_at(*kernels)) continue;
    Result<Model> model = load_model(folder(), DenseMode::fast, kernels->level, threads_);
    ASSERT_TRUE(model.ok()) << model.error().message;
    for (const RowKind kind : distinct_kinds(*model)) {
      const double error =
          relative_norm(text_logits(*model, ids_, 64, last(), threads_, kind), expected_.data);
      RecordProperty(fmt::format("{}_{}", kernels->level, static_cast<int>(kind)),
                     fmt::format("{:.2e}", error));
      EXPECT_LE(error, model->dense_path().bf16_activations(kind) ? 2e-2 : 2e-3)
          << model->description() << (kind == RowKind::prompt ? " prompt" : " generated");
    }
  }
}

TEST_P(GoldenModel, logits_are_bit_identical_for_all_slices_and_threads) {
  for (const DenseKernels* kernels : dense_levels()) {
    if (kernels->level == "scalar") continue;  // slow, and its loops are per row anyway
    Result<Model> model = load_model(folder(), DenseMode::fast, kernels->level, threads_);
    ASSERT_TRUE(model.ok()) << model.error().message;
    for (const RowKind kind : distinct_kinds(*model)) {
      const std::vector<float> whole = text_logits(*model, ids_, 160, last(), threads_, kind);
      for (const auto& [slice, count] : {std::pair{1, 1}, {7, 3}, {64, 2}}) {
        ThreadPool threads(static_cast<size_t>(count));
        const std::vector<float> sliced =
            text_logits(*model, ids_, static_cast<size_t>(slice), last(), threads, kind);
        ASSERT_EQ(std::memcmp(whole.data(), sliced.data(), whole.size() * sizeof(float)), 0)
            << kernels->level << " slices of " << slice << ", " << count << " threads";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(goldens, GoldenModel, ::testing::ValuesIn(kGoldens),
                         [](const auto& info) { return info.param.name; });

// Reads prompt and golden continuation in one run. Steps whose two best logits are closer than
// `margin` are left out: there the arithmetic may decide.
size_t check_greedy(Model& model, const Json& golden, double margin, ThreadPool& threads) {
  size_t checked = 0;
  for (const Json& entry : golden) {
    std::vector<int32_t> ids = entry["prompt_ids"].get<std::vector<int32_t>>();
    const auto answer = entry["ids"].get<std::vector<int32_t>>();
    const auto margins = entry["margins"].get<std::vector<double>>();
    ids.insert(ids.end(), answer.begin(), answer.end() - 1);
    const std::vector<float> logits = text_logits(model, ids, 160, answer.size(), threads);
    const size_t vocab = model.config().vocab_size;
    for (size_t step = 0; step < answer.size(); ++step) {
      if (margins[step] < margin) continue;
      const auto row = logits.begin() + static_cast<ptrdiff_t>(step * vocab);
      const auto best = std::max_element(row, row + static_cast<ptrdiff_t>(vocab)) - row;
      EXPECT_EQ(best, answer[step]) << "step " << step << " of " << entry["prompt"];
      ++checked;
    }
  }
  return checked;
}

class SmolLm2 : public ::testing::Test {
 protected:
  std::vector<int32_t> ids() const { return read_ids(data() / "prose_ids.json"); }
  std::filesystem::path data() const { return source_path("tests/data/smollm2"); }
  ThreadPool threads_{2};
};

TEST_F(SmolLm2, precise_logits_likelihood_and_greedy_text_equal_float64) {
  SKVIS_NEEDS_SMOLLM2();
  Result<Model> model = load_model(smollm2_path(), DenseMode::precise, "", threads_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  Result<NpyArray> expected = read_npy(data() / "prose_logits_last16.npy");
  ASSERT_TRUE(expected.ok());
  const std::vector<int32_t> text = ids();
  const size_t vocab = model->config().vocab_size;
  std::vector<float> last;
  double likelihood = 0;
  run_text(*model, text, 64, 0, RowKind::prompt, threads_,
           [&](size_t first, std::span<const float> logits) {
             for (size_t i = 0; i * vocab < logits.size(); ++i) {
               const auto row = logits.subspan(i * vocab, vocab);
               if (first + i + 16 >= text.size()) last.insert(last.end(), row.begin(), row.end());
               if (first + i + 1 >= text.size()) continue;
               const double top = *std::max_element(row.begin(), row.end());
               double sum = 0;
               for (const float logit : row) sum += std::exp(logit - top);
               likelihood -= row[static_cast<size_t>(text[first + i + 1])] - top - std::log(sum);
             }
           });
  const double error = relative_norm(last, expected->data);
  RecordProperty("relative_norm", fmt::format("{:.2e}", error));
  EXPECT_LE(error, 2e-5);
  const double golden = read_json(data() / "nll.json")["prose"].get<double>();
  EXPECT_NEAR(likelihood / static_cast<double>(text.size() - 1), golden, 1e-4);
  EXPECT_GE(check_greedy(*model, read_json(data() / "greedy.json"), 0.1, threads_), 20u);
}

TEST_F(SmolLm2, fast_logits_and_greedy_text_stay_within_what_the_arithmetic_costs) {
  SKVIS_NEEDS_SMOLLM2();
  Result<NpyArray> expected = read_npy(data() / "prose_logits_last16.npy");
  ASSERT_TRUE(expected.ok());
  for (const DenseKernels* kernels : dense_levels()) {
    if (kernels->level == "scalar") continue;  // minutes; its loops are proven on small models
    Result<Model> model = load_model(smollm2_path(), DenseMode::fast, kernels->level, threads_);
    ASSERT_TRUE(model.ok()) << model.error().message;
    for (const RowKind kind : distinct_kinds(*model)) {
      const double error =
          relative_norm(text_logits(*model, ids(), 160, 16, threads_, kind), expected->data);
      RecordProperty(fmt::format("{}_{}", kernels->level, static_cast<int>(kind)),
                     fmt::format("{:.2e}", error));
      EXPECT_LE(error, model->dense_path().bf16_activations(kind) ? 5e-2 : 1e-2)
          << model->description();
    }
    EXPECT_GE(check_greedy(*model, read_json(data() / "greedy.json"), 0.5, threads_), 15u);
  }
}

TEST_F(SmolLm2, logits_are_bit_identical_for_all_slices) {
  SKVIS_NEEDS_SMOLLM2();
  Result<Model> model = load_model(smollm2_path(), DenseMode::fast, "", threads_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  std::vector<int32_t> text = ids();
  text.resize(200);
  const std::vector<float> whole = text_logits(*model, text, 160, 16, threads_);
  for (const size_t slice : {1u, 7u, 64u}) {
    const std::vector<float> sliced = text_logits(*model, text, slice, 16, threads_);
    ASSERT_EQ(std::memcmp(whole.data(), sliced.data(), whole.size() * sizeof(float)), 0) << slice;
  }
}

}  // namespace
}  // namespace skvis
