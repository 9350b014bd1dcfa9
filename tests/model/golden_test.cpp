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
    for (const DenseMode mode : {DenseMode::fast, DenseMode::bf16}) {
      Result<Model> model = load_model(folder(), mode, kernels->level, threads_);
      ASSERT_TRUE(model.ok()) << model.error().message;
      for (const RowKind kind : distinct_kinds(*model)) {
        const double error =
            relative_norm(text_logits(*model, ids_, 64, last(), threads_, kind), expected_.data);
        RecordProperty(
            fmt::format("{}_{}_{}", kernels->level, static_cast<int>(mode), static_cast<int>(kind)),
            fmt::format("{:.2e}", error));
        const bool bf16 = mode == DenseMode::bf16 || model->dense_path().bf16_activations(kind);
        EXPECT_LE(error, bf16 ? 2e-2 : 2e-3)
            << model->description() << (kind == RowKind::prompt ? " prompt" : " generated");
      }
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

}  // namespace
}  // namespace skvis
