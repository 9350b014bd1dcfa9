// SPDX-License-Identifier: Apache-2.0
// The whole engine, cache included, against logits that were computed in float64.
#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

class GoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder() const { return source_path("tests/data/golden/" + GetParam()); }
};

TEST_P(GoldenModel, precise_logits_equal_float64_to_1e_5) {
  const auto engine = make_engine(folder().string(), {.mode = DenseMode::precise});
  const auto ids = read_ids(folder() / "ids.json");
  const auto logits = read_logits(*engine, ids, static_cast<uint32_t>(ids.size()));
  EXPECT_LE(relative_norm(logits, golden_logits(folder() / "logits.npy")), 1e-5);
}

TEST_P(GoldenModel, fast_logits_stay_within_what_their_arithmetic_costs) {
  const auto engine = make_engine(folder().string());
  const auto ids = read_ids(folder() / "ids.json");
  const auto logits = read_logits(*engine, ids, static_cast<uint32_t>(ids.size()));
  const bool bf16 = engine->model().model.dense_path().bf16_activations(RowKind::prompt);
  EXPECT_LE(relative_norm(logits, golden_logits(folder() / "logits.npy")), bf16 ? 2e-2 : 2e-3);
}

TEST_P(GoldenModel, slices_of_any_size_give_the_same_bits) {
  const auto engine = make_engine(folder().string());
  const auto ids = read_ids(folder() / "ids.json");
  const auto count = static_cast<uint32_t>(ids.size());
  const auto whole = read_logits(*engine, ids, count, 160);
  for (const uint32_t chunk : {1u, 7u, 64u}) {
    EXPECT_EQ(read_logits(*engine, ids, count, chunk), whole) << "slices of " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel,
                         ::testing::Values("llama-tied", "llama31-rope", "qwen2-bias",
                                           "qwen3-qknorm"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(TinyModel, precise_logits_equal_float64_to_1e_5) {
  const auto engine = tiny_engine({.mode = DenseMode::precise});
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  const auto logits = read_logits(*engine, ids, 128);
  EXPECT_LE(relative_norm(logits, golden_logits(source_path("models/tiny/logits_last128.npy"))),
            1e-5);
}

TEST(TinyModel, fast_logits_stay_within_what_their_arithmetic_costs) {
  const auto engine = tiny_engine();
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  const auto logits = read_logits(*engine, ids, 128);
  const bool bf16 = engine->model().model.dense_path().bf16_activations(RowKind::prompt);
  EXPECT_LE(relative_norm(logits, golden_logits(source_path("models/tiny/logits_last128.npy"))),
            bf16 ? 2e-2 : 2e-3);
}

TEST(TinyModel, greedy_answers_equal_the_golden_ones_token_for_token) {
  for (const DenseMode mode : {DenseMode::precise, DenseMode::fast}) {
    const auto engine = tiny_engine({.mode = mode});
    for (const Json& golden : read_json(source_path("models/tiny/greedy.json"))) {
      auto expected = golden["ids"].get<std::vector<uint32_t>>();
      GenerationRequest request;
      auto prompt = engine->model().tokenizer->encode(golden["prompt"].get<std::string>());
      ASSERT_TRUE(prompt.ok());
      request.prompt = *prompt;
      request.max_tokens = static_cast<uint32_t>(expected.size());
      request.sampling.temperature = 0;
      Session session(*engine);
      const auto result = session.generate(request);
      ASSERT_TRUE(result.ok()) << result.error().message;
      // The end token ends an answer and is no part of it.
      if (result->finish == FinishReason::stop) {
        ASSERT_EQ(expected.size(), result->tokens.size() + 1);
        expected.pop_back();
      }
      EXPECT_EQ(result->tokens, expected) << golden["prompt"];
    }
  }
}

TEST(TinyModel, slices_of_any_size_give_the_same_bits_under_every_plan) {
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  for (const std::string plan : {"full", "int8", "int4-hadamard", "snapkv:0.5 settle=128"}) {
    const auto engine = tiny_engine({.plan = plan});
    const auto whole = read_logits(*engine, ids, 64, 160);
    for (const uint32_t chunk : {1u, 7u, 64u}) {
      EXPECT_EQ(read_logits(*engine, ids, 64, chunk), whole) << plan << ", slices of " << chunk;
    }
  }
}

TEST(SmolLM2, precise_logits_equal_float64_to_2e_5) {
  SKVIS_NEED_DEFAULT_MODEL();
  const auto engine = make_engine("smollm2", {.mode = DenseMode::precise});
  const auto ids = read_ids(source_path("tests/data/smollm2/prose_ids.json"));
  const auto logits = read_logits(*engine, ids, 16);
  EXPECT_LE(relative_norm(logits,
                          golden_logits(source_path("tests/data/smollm2/prose_logits_last16.npy"))),
            2e-5);
}

TEST(SmolLM2, fast_logits_stay_within_what_their_arithmetic_costs_at_every_level) {
  SKVIS_NEED_DEFAULT_MODEL();
  const auto ids = read_ids(source_path("tests/data/smollm2/prose_ids.json"));
  const auto golden = golden_logits(source_path("tests/data/smollm2/prose_logits_last16.npy"));
  for (const kernels::Level level : kernels::available_levels()) {
    // Minutes each, and their loops are proven on small models.
    if (level == kernels::Level::scalar || level == kernels::Level::sse4) continue;
    const ForcedLevel forced(level);
    const auto engine = make_engine("smollm2");
    const bool bf16 = engine->model().model.dense_path().bf16_activations(RowKind::prompt);
    EXPECT_LE(relative_norm(read_logits(*engine, ids, 16), golden), bf16 ? 5e-2 : 1e-2)
        << kernels::level_name(level);
  }
}

TEST(SmolLM2, slices_of_any_size_give_the_same_bits) {
  SKVIS_NEED_DEFAULT_MODEL();
  auto ids = read_ids(source_path("tests/data/smollm2/prose_ids.json"));
  ids.resize(200);
  const auto engine = make_engine("smollm2");
  const auto whole = read_logits(*engine, ids, 16, 160);
  for (const uint32_t chunk : {1u, 7u, 64u}) {
    EXPECT_EQ(read_logits(*engine, ids, 16, chunk), whole) << "slices of " << chunk;
  }
}

TEST(SmolLM2, mean_negative_log_likelihood_equals_the_golden_one) {
  SKVIS_NEED_DEFAULT_MODEL();
  const auto engine = make_engine("smollm2", {.mode = DenseMode::precise});
  const auto ids = read_ids(source_path("tests/data/smollm2/prose_ids.json"));
  const auto count = static_cast<uint32_t>(ids.size());
  const auto logits = read_logits(*engine, ids, count);
  double sum = 0;
  for (size_t i = 0; i + 1 < count; ++i) {
    const float* row = logits.data() + i * engine->vocabulary();
    const double highest = *std::max_element(row, row + engine->vocabulary());
    double total = 0;
    for (size_t k = 0; k < engine->vocabulary(); ++k) total += std::exp(row[k] - highest);
    sum += highest + std::log(total) - row[ids[i + 1]];
  }
  const double golden = read_json(source_path("tests/data/smollm2/nll.json"))["prose"];
  EXPECT_NEAR(sum / (count - 1), golden, 1e-4);
}

// The golden prompt and answer are read together; narrow steps say nothing about arithmetic.
void expect_greedy_steps(DenseMode mode, double margin) {
  const auto engine = make_engine("smollm2", {.mode = mode});
  size_t compared = 0;
  for (const Json& golden : read_json(source_path("tests/data/smollm2/greedy.json"))) {
    auto ids = golden["prompt_ids"].get<std::vector<uint32_t>>();
    const auto answer = golden["ids"].get<std::vector<uint32_t>>();
    ids.insert(ids.end(), answer.begin(), answer.end());
    // The logits of the last prompt token and of all answer tokens but the last.
    const auto rows = static_cast<uint32_t>(answer.size() + 1);
    const auto logits = read_logits(*engine, ids, rows);
    for (size_t i = 0; i < answer.size(); ++i) {
      if (golden["margins"][i].get<double>() < margin) continue;
      const std::span row(logits.data() + i * engine->vocabulary(), engine->vocabulary());
      EXPECT_EQ(argmax(row), answer[i]) << golden["prompt"] << " step " << i;
      ++compared;
    }
  }
  EXPECT_GE(compared, 30u);
}

TEST(SmolLM2, precise_greedy_steps_equal_the_golden_ones) {
  SKVIS_NEED_DEFAULT_MODEL();
  expect_greedy_steps(DenseMode::precise, 0.1);
}

TEST(SmolLM2, fast_greedy_steps_equal_the_golden_ones) {
  SKVIS_NEED_DEFAULT_MODEL();
  expect_greedy_steps(DenseMode::fast, 0.5);
}

}  // namespace
}  // namespace skvis::testing
