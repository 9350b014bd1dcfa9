// SPDX-License-Identifier: Apache-2.0
#include "eval/text_loss.hpp"

#include <gmock/gmock.h>

#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::HasSubstr;

std::vector<uint32_t> tiny_ids() {
  return read_ids(source_path("models/tiny/ids.json"));
}

ComparedPlans compared(std::shared_ptr<Engine> engine, const std::vector<std::string>& plans) {
  const std::string name = engine->plan().name;
  auto result = ComparedPlans::create(std::move(engine), name, plans);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return std::move(*result);
}

std::vector<TextSummary> run_all(const ComparedPlans& plans, const TextRun& run,
                                 std::span<const uint32_t> ids) {
  CellFile cells = *CellFile::open("", false);
  auto summaries = run_text(plans, run, ids, cells);
  EXPECT_TRUE(summaries.ok()) << summaries.error().message;
  return summaries ? std::move(*summaries) : std::vector<TextSummary>{};
}

TEST(TextLoss, the_full_cache_read_twice_diverges_by_exactly_nothing) {
  const auto ids = tiny_ids();
  auto plans = compared(tiny_engine(), {});
  plans.add_noise_floor(tiny_engine(), plans.baseline().kernels);
  const auto size = static_cast<uint32_t>(ids.size());
  const auto sums = run_all(plans, {.window = size, .windows = 1, .from = size / 3}, ids);
  ASSERT_EQ(sums.size(), 2u);
  EXPECT_EQ(sums[1].divergence_most, 0);
  EXPECT_EQ(sums[1].nll_difference.mean, 0);
  EXPECT_EQ(sums[1].same_best.mean, 1);
  EXPECT_GT(sums[0].nll.mean, 0);
  EXPECT_EQ(sums[1].nll.mean, sums[0].nll.mean);
}

TEST(TextLoss, another_kernel_level_is_a_small_difference_and_not_none) {
  const auto ids = tiny_ids();
  auto plans = compared(tiny_engine(), {});
  if (plans.baseline().kernels == "scalar") GTEST_SKIP() << "there is only one level here";
  std::shared_ptr<Engine> other;
  {
    const ForcedLevel forced(kernels::Level::scalar);
    other = tiny_engine();
  }
  plans.add_noise_floor(other, "scalar");
  const auto sums = run_all(plans, {.window = 96, .stride = 16, .windows = 2, .from = 32}, ids);
  EXPECT_GT(sums[1].divergence_most, 0);
  EXPECT_LT(sums[1].divergence.mean, 1e-2);
}

// What the pieces of a run give when one reads the text by hand.
TEST(TextLoss, a_plan_that_drops_is_scored_on_the_cache_that_is_left) {
  const auto ids = tiny_ids();
  constexpr uint32_t kWindow = 100, kFrom = 50;
  for (const std::string plan :
       {"streaming:0.3 sinks=4 settle=16", "snapkv:0.2 observe=8 settle=prompt"}) {
    const auto plans = compared(tiny_engine(), {plan});
    const auto sums = run_all(plans, {.window = kWindow, .windows = 1, .from = kFrom}, ids);
    const auto engine = tiny_engine({.plan = plan});
    auto sequence = engine->open_sequence(kFrom, kWindow);
    ASSERT_TRUE(sequence.ok());
    ASSERT_TRUE(engine->read(*sequence, std::span(ids).first(kFrom), 16, 0, {}).ok());
    double nll = 0;
    for (uint32_t row = kFrom; row + 1 < kWindow; ++row) {
      std::vector<float> logits(engine->vocabulary());
      const StepWork work{.sequence = &*sequence, .tokens = {&ids[row], 1}, .logits_rows = 1};
      ASSERT_TRUE(engine->step({&work, 1}, logits).ok());
      double sum = 0;
      for (const float logit : logits) sum += std::exp(double{logit});
      nll += std::log(sum) - logits[ids[row + 1]];
    }
    EXPECT_NEAR(sums[1].nll.mean, nll / (kWindow - 1 - kFrom), 1e-6) << plan;
    EXPECT_GT(sums[1].divergence.mean, 0) << plan;
    EXPECT_LT(sums[1].rows_share, 0.8) << plan;
    EXPECT_DOUBLE_EQ(sums[0].rows_share, 1);
    EXPECT_DOUBLE_EQ(sums[0].row_bytes, sums[0].full_bytes);
  }
}

TEST(TextLoss, errors_over_tokens_are_those_of_all_tokens_together) {
  // Two windows that are one text: their tokens' differences together must have the error that one
  // window of the same tokens has, were its cache the same. Here: the same window twice.
  const auto ids = tiny_ids();
  std::vector<uint32_t> twice(ids.begin(), ids.begin() + 64);
  twice.insert(twice.end(), ids.begin(), ids.begin() + 64);
  const auto plans = compared(tiny_engine(), {"int4"});
  const TextRun run{.window = 64, .stride = 64, .windows = 2, .from = 32};
  const auto both = run_all(plans, run, twice);
  const auto one = run_all(plans, {.window = 64, .stride = 64, .windows = 1, .from = 32}, twice);
  EXPECT_DOUBLE_EQ(both[1].nll_difference.mean, one[1].nll_difference.mean);
  EXPECT_DOUBLE_EQ(both[1].nll_difference.error, 0);
  const double n = run.scored();
  EXPECT_NEAR(both[1].nll_difference_error,
              one[1].nll_difference_error * std::sqrt((n - 1) / (2 * n - 1)), 1e-12);
}

TEST(TextLoss, a_run_that_goes_on_measures_only_what_is_missing) {
  const auto ids = tiny_ids();
  const TempFolder folder;
  const std::string path = (folder.path() / "cells.jsonl").string();
  const TextRun run{.window = 64, .stride = 32, .windows = 2, .from = 32};
  const auto count = [&] {
    const std::string text = *read_file(path);
    return std::count(text.begin(), text.end(), '\n');
  };
  std::shared_ptr<Engine> engine = tiny_engine();
  {
    CellFile cells = *CellFile::open(path, false);
    ASSERT_TRUE(run_text(compared(engine, {"int8"}), run, ids, cells).ok());
  }
  EXPECT_EQ(count(), 4);
  CellFile cells = *CellFile::open(path, true);
  const auto both = run_text(compared(engine, {"int8", "int4"}), run, ids, cells);
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(count(), 6);
  const auto fresh = run_all(compared(engine, {"int4"}), run, ids);
  EXPECT_EQ((*both)[2].divergence.mean, fresh[1].divergence.mean);
}

TEST(TextLoss, what_is_no_window_is_refused) {
  const auto ids = tiny_ids();
  const auto plans = compared(tiny_engine(), {});
  const auto message = [&](const TextRun& run) {
    CellFile cells = *CellFile::open("", false);
    const auto sums = run_text(plans, run, ids, cells);
    EXPECT_FALSE(sums.ok());
    return sums.ok() ? "" : sums.error().message;
  };
  EXPECT_THAT(message({.window = 64, .stride = 64, .windows = 1000, .from = 32}),
              HasSubstr("tokens; 1000 windows"));
  EXPECT_THAT(message({.window = 64, .windows = 1, .from = 63}), HasSubstr("scored"));
  EXPECT_THAT(message({.window = 1, .windows = 1, .from = 0}), HasSubstr("scored"));
  EXPECT_THAT(message({.window = 64, .stride = 0, .windows = 1, .from = 3}), HasSubstr("stride"));
}

TEST(TextLoss, perplexity_of_the_full_cache_is_the_golden_one) {
  SKVIS_NEED_DEFAULT_MODEL();
  const auto ids = read_ids(source_path("tests/data/smollm2/prose_ids.json"));
  const auto plans = compared(make_engine("smollm2", {.mode = DenseMode::precise}), {});
  const auto size = static_cast<uint32_t>(ids.size());
  const auto sums = run_all(plans, {.window = size, .windows = 1, .from = 0}, ids);
  const double golden = read_json(source_path("tests/data/smollm2/nll.json"))["prose"];
  EXPECT_NEAR(sums[0].nll.mean, golden, 1e-4);
}

}  // namespace
}  // namespace skvis::testing
