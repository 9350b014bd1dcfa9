// SPDX-License-Identifier: Apache-2.0
// Shapes, scalings and windows that no golden covers, against float64 equations; and refused files.
#include <cstring>

#include "model/float64_model.hpp"
#include "model/model_testing.hpp"
#include "model/random_model.hpp"

namespace skvis {
namespace {

using namespace skvis::testing;

std::vector<int32_t> some_ids(size_t count, size_t vocab) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(i * i * 7 + i) % vocab);
  return ids;
}

struct Variant {
  std::string name;
  size_t head_dim, heads, kv_heads;
  Json more = Json::object();
  DType dtype = DType::kF32;
};

Json rope(Json scaling) {
  return Json{{"rope_scaling", std::move(scaling)}};
}

const Json kYarn = {
    {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}};

Json with(Json base, const Json& more) {
  base.update(more);
  return base;
}

const Variant kVariants[] = {
    {"dim32_mha", 32, 4, 4},
    {"dim48_mqa", 48, 4, 1},
    {"dim64_gqa3", 64, 3, 1},
    {"dim80_gqa2", 80, 4, 2},
    {"dim96_bf16", 96, 2, 1, Json::object(), DType::kBF16},
    {"dim128_f16", 128, 2, 2, Json::object(), DType::kF16},
    {"dim256", 256, 2, 1},
    {"dim8_gqa16", 8, 16, 1},
    {"tied", 32, 2, 2, {{"tie_word_embeddings", true}}},
    {"llama_biases", 32, 2, 1, {{"attention_bias", true}, {"mlp_bias", true}}},
    {"qwen2", 48, 4, 2, {{"model_type", "qwen2"}}},
    {"qwen3", 80, 4, 2, {{"model_type", "qwen3"}}},
    {"mistral_window", 32, 4, 2, {{"model_type", "mistral"}, {"sliding_window", 9}}},
    {"qwen3_some_layers_slide",
     32,
     2,
     1,
     {{"model_type", "qwen3"},
      {"sliding_window", 5},
      {"use_sliding_window", true},
      {"layer_types", {"full_attention", "sliding_attention"}}}},
    {"linear", 64, 2, 1, rope({{"rope_type", "linear"}, {"factor", 2.5}})},
    {"llama3", 96, 2, 1,
     rope({{"rope_type", "llama3"},
           {"factor", 8.0},
           {"low_freq_factor", 1.0},
           {"high_freq_factor", 4.0},
           {"original_max_position_embeddings", 32}})},
    {"yarn", 64, 2, 1, rope(kYarn)},
    {"yarn_not_truncated", 48, 2, 1, rope(with(kYarn, {{"truncate", false}}))},
    {"yarn_with_factor", 128, 2, 1,
     rope(with(kYarn, {{"attention_factor", 0.9}, {"beta_fast", 16.0}, {"beta_slow", 2.0}}))},
};

class Shapes : public ::testing::TestWithParam<Variant> {
 protected:
  const TempFolder temp_;
  ThreadPool threads_{2};
};

TEST_P(Shapes, logits_equal_the_equations_in_float64) {
  const Variant& v = GetParam();
  const RandomModel random(v.head_dim, v.heads, v.kv_heads, v.more, v.dtype);
  const std::filesystem::path folder = random.write(temp_);
  Result<ModelFiles> files = ModelFiles::open(folder);
  ASSERT_TRUE(files.ok()) << files.error().message;
  const std::vector<int32_t> ids = some_ids(50, 61);
  const std::vector<double> expected = Float64Model(random.config, *files).logits(ids);

  Result<Model> precise = load_model(folder, DenseMode::precise, "", threads_);
  ASSERT_TRUE(precise.ok()) << precise.error().message;
  EXPECT_LE(relative_norm(text_logits(*precise, ids, 16, 50, threads_), expected), 1e-5);

  Result<Model> fast = load_model(folder, DenseMode::fast, "", threads_);
  ASSERT_TRUE(fast.ok()) << fast.error().message;
  for (const RowKind kind : {RowKind::prompt, RowKind::generated}) {
    const std::vector<float> logits = text_logits(*fast, ids, 16, 50, threads_, kind);
    const bool bf16 = fast->dense_path().bf16_activations(kind);
    EXPECT_LE(relative_norm(logits, expected), bf16 ? 2e-2 : 2e-3);
    const std::vector<float> single = text_logits(*fast, ids, 1, 50, threads_, kind);
    EXPECT_EQ(std::memcmp(logits.data(), single.data(), logits.size() * sizeof(float)), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(variants, Shapes, ::testing::ValuesIn(kVariants),
                         [](const auto& info) { return info.param.name; });

class LoadModel : public ::testing::Test {
 protected:
  // The message with which loading is refused; empty when it is not.
  std::string refusal(const RandomModel& random) {
    Result<Model> model = load_model(random.write(temp_), DenseMode::fast, "", threads_);
    return model ? "" : model.error().message;
  }
  const TempFolder temp_;
  ThreadPool threads_{2};
};

TEST_F(LoadModel, a_missing_tensor_is_named) {
  RandomModel random(32, 2, 1);
  EXPECT_EQ(refusal(random), "");
  std::erase_if(random.tensors,
                [](const TensorView& t) { return t.name == "model.layers.1.mlp.up_proj.weight"; });
  EXPECT_THAT(refusal(random), ::testing::HasSubstr("model.layers.1.mlp.up_proj.weight"));
}

TEST_F(LoadModel, a_wrong_shape_is_named_with_both_shapes) {
  RandomModel random(32, 2, 1);
  random.find("model.layers.0.self_attn.k_proj.weight").shape = {48, 32};
  const std::string message = refusal(random);
  EXPECT_THAT(message, ::testing::HasSubstr("model.layers.0.self_attn.k_proj.weight"));
  EXPECT_THAT(message, ::testing::HasSubstr("[32, 48]"));
  EXPECT_THAT(message, ::testing::HasSubstr("[48, 32]"));
}

TEST_F(LoadModel, weights_that_are_no_numbers_are_refused_by_name_and_index) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    RandomModel random(32, 2, 1);
    random.set("model.layers.1.self_attn.o_proj.weight", 3 * 64 + 5, bad);
    const std::string message = refusal(random);
    EXPECT_THAT(message, ::testing::HasSubstr("model.layers.1.self_attn.o_proj.weight"));
    EXPECT_THAT(message, ::testing::HasSubstr("[3, 5]"));
  }
  for (const char* name : {"model.norm.weight", "model.embed_tokens.weight", "lm_head.weight",
                           "model.layers.0.input_layernorm.weight"}) {
    RandomModel random(32, 2, 1);
    random.set(name, 7, NAN);
    EXPECT_THAT(refusal(random), ::testing::HasSubstr(name));
  }
}

TEST_F(LoadModel, memory_is_known_before_loading) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const DenseMode mode : {DenseMode::precise, DenseMode::fast}) {
      const RandomModel random(32, 2, 1, {{"model_type", "qwen2"}}, dtype);
      Result<Model> model = load_model(random.write(temp_), mode, "", threads_);
      ASSERT_TRUE(model.ok());
      Result<ModelMemory> memory =
          model_memory(model->files(), model->dense_path(), 64, 2, threads_.threads());
      ASSERT_TRUE(memory.ok());
      EXPECT_EQ(memory->packed, model->weight_bytes());
      EXPECT_EQ(memory->mapped, 61 * 48 * block_bytes(dtype));
      EXPECT_GT(memory->workspace, 64 * 48 * sizeof(float));
    }
  }
}

TEST_F(LoadModel, progress_rises_to_the_total) {
  Result<ModelFiles> files = ModelFiles::open(RandomModel(32, 2, 1).write(temp_));
  ASSERT_TRUE(files.ok());
  const size_t total = files->weight_bytes();
  size_t last = 0;
  Result<Model> model =
      Model::load(std::make_shared<const ModelFiles>(std::move(*files)),
                  *choose_dense_path(DenseMode::fast), threads_, [&](size_t done, size_t all) {
                    EXPECT_GT(done, last);
                    EXPECT_EQ(all, total);
                    last = done;
                  });
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(last, total);
}

class Steps : public LoadModel {
 protected:
  void SetUp() override {
    const RandomModel random(32, 4, 2, Json::object(), DType::kBF16);
    Result<Model> model = load_model(random.write(temp_), DenseMode::fast, "", threads_);
    ASSERT_TRUE(model.ok());
    model_.emplace(std::move(*model));
  }
  std::optional<Model> model_;
};

TEST_F(Steps, a_step_over_many_sequences_and_kinds_gives_each_row_what_it_gets_alone) {
  const std::vector<int32_t> a = some_ids(12, 61);
  std::vector<int32_t> b = some_ids(20, 61);
  std::reverse(b.begin(), b.end());
  const std::vector<float> alone_a = text_logits(*model_, a, 64, 1, threads_);
  const std::vector<float> alone_b = text_logits(*model_, b, 1, 1, threads_, RowKind::generated);

  // b has 19 tokens behind it; then its last one is generated beside the whole of a, in two runs.
  PlainAttention attention(model_->cache_shape(), 2);
  for (size_t i = 0; i + 1 < b.size(); ++i) {
    attention.begin({1});
    const StepRow row{.token = b[i], .kind = RowKind::generated};
    ASSERT_TRUE(model_->forward({&row, 1}, attention, {}, threads_).ok());
  }
  std::vector<StepRow> rows;
  std::vector<size_t> owners;
  for (size_t i = 0; i < a.size(); ++i) {
    if (i == 5) {
      rows.push_back({.token = b.back(), .kind = RowKind::generated, .wants_logits = true});
      owners.push_back(1);
    }
    rows.push_back({.token = a[i], .wants_logits = i + 1 == a.size()});
    owners.push_back(0);
  }
  attention.begin(owners);
  std::vector<float> logits(2 * 61);
  ASSERT_TRUE(model_->forward(rows, attention, logits, threads_).ok());
  EXPECT_EQ(std::vector<float>(logits.begin(), logits.begin() + 61), alone_b);
  EXPECT_EQ(std::vector<float>(logits.begin() + 61, logits.end()), alone_a);
}

TEST_F(Steps, bad_tokens_and_wrong_room_for_logits_are_refused_before_the_cache_is_touched) {
  PlainAttention attention(model_->cache_shape());  // begin() was not called: attend() would fail
  std::vector<float> logits(61);
  for (const int32_t token : {-1, 61, 1 << 30}) {
    const StepRow row{.token = token, .wants_logits = true};
    const Result<void> done = model_->forward({&row, 1}, attention, logits, threads_);
    ASSERT_FALSE(done.ok());
    EXPECT_THAT(done.error().message, ::testing::HasSubstr(std::to_string(token)));
  }
  const StepRow row{.token = 1, .wants_logits = true};
  EXPECT_FALSE(model_->forward({&row, 1}, attention, {logits.data(), 60}, threads_).ok());
  EXPECT_TRUE(model_->forward({}, attention, {}, threads_).ok());
}

TEST(DensePath, unknown_levels_are_refused_with_the_known_ones) {
  const Result<DensePath> path = choose_dense_path(DenseMode::fast, "pentium");
  ASSERT_FALSE(path.ok());
  EXPECT_THAT(path.error().message, ::testing::HasSubstr("scalar"));
  EXPECT_EQ(choose_dense_path(DenseMode::fast, "sse4")->kernels->level, "scalar");
  EXPECT_TRUE(choose_dense_path(DenseMode::precise, "").ok());
}

}  // namespace
}  // namespace skvis
