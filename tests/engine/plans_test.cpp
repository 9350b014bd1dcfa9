// SPDX-License-Identifier: Apache-2.0
// One model under several plans, and rows read once for all that settle at the prompt's end only.
#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

constexpr const char* kAtPromptEnd = "int8 snapkv:0.3 observe=16 settle=prompt";

std::vector<uint32_t> tiny_ids() {
  return read_ids(source_path("models/tiny/ids.json"));
}

TEST(Plans, another_plan_over_the_same_model_computes_what_an_engine_of_its_own_does) {
  const auto ids = tiny_ids();
  const auto full = tiny_engine();
  for (const std::string plan : {"int4-hadamard settle=64", kAtPromptEnd}) {
    auto shared = full->with_plan(plan);
    ASSERT_TRUE(shared.ok()) << shared.error().message;
    EXPECT_EQ(&(*shared)->model(), &full->model());
    EXPECT_EQ(read_logits(**shared, ids, 64), read_logits(*tiny_engine({.plan = plan}), ids, 64));
  }
  EXPECT_EQ(full->plan().name, "full");
  EXPECT_EQ(read_logits(*full, ids, 64), read_logits(*tiny_engine(), ids, 64));
}

TEST(Plans, engines_that_share_a_model_share_one_budget_of_memory) {
  const auto full = tiny_engine();
  auto other = full->with_plan("int8");
  ASSERT_TRUE(other.ok());
  const PoolFigures before = full->pool().figures();
  {
    auto sequence = (*other)->open_sequence(100, 200);
    ASSERT_TRUE(sequence.ok());
    EXPECT_LT(full->pool().figures().free, before.free);
  }
  EXPECT_EQ(full->pool().figures(), before);
}

TEST(Plans, a_plan_that_is_wrong_leaves_the_engine_usable) {
  const auto full = tiny_engine();
  EXPECT_FALSE(full->with_plan("int9").ok());
  EXPECT_FALSE(read_logits(*full, std::vector<uint32_t>{1, 2, 3}, 1).empty());
}

// Reads all but the last token, which ends the prompt, under `reader`; the rest under `engine`.
std::vector<float> adopted_logits(Engine& reader, Engine& engine, std::span<const uint32_t> ids) {
  const auto count = static_cast<uint32_t>(ids.size());
  auto from = reader.open_sequence(count, count);
  EXPECT_TRUE(from.ok());
  for (uint32_t done = 0; done + 1 < count;) {
    const uint32_t rows = std::min(100u, count - 1 - done);
    const StepWork work{.sequence = &*from, .tokens = ids.subspan(done, rows)};
    EXPECT_TRUE(reader.step({&work, 1}, {}).ok());
    done += rows;
  }
  auto sequence = engine.open_sequence(count, count);
  EXPECT_TRUE(sequence.ok());
  const auto adopted = sequence->adopt_exact(*from);
  EXPECT_TRUE(adopted.ok()) << adopted.error().message;
  std::vector<float> logits(2 * engine.vocabulary());
  const std::span both(logits);
  EXPECT_TRUE(
      engine.read(*sequence, ids.subspan(count - 1), 1, 1, both.first(engine.vocabulary())).ok());
  EXPECT_LT(sequence->rows_held(), size_t{count} * engine.plan().shape.heads());
  // And a row that reads what was settled.
  const uint32_t next = 5;
  const StepWork work{
      .sequence = &*sequence, .tokens = {&next, 1}, .kind = RowKind::generated, .logits_rows = 1};
  EXPECT_TRUE(engine.step({&work, 1}, both.last(engine.vocabulary())).ok());
  return logits;
}

TEST(Plans, adopted_rows_settle_to_the_same_bits_as_rows_read_under_the_plan) {
  const auto ids = tiny_ids();
  const auto reader = tiny_engine({.plan = "snapkv:0.5 observe=64 settle=prompt"});
  for (const std::string plan :
       {kAtPromptEnd, "int4 keydiff:0.4 settle=prompt", "snapkv:0.5 settle=prompt"}) {
    auto own = reader->with_plan(plan);
    auto same = reader->with_plan(plan);
    ASSERT_TRUE(own.ok() && same.ok());
    EXPECT_EQ(adopted_logits(*reader, **own, ids), adopted_logits(**same, **own, ids)) << plan;
  }
}

TEST(Plans, rows_that_do_not_fit_a_plan_are_not_adopted) {
  const auto ids = tiny_ids();
  const auto reader = tiny_engine({.plan = "full settle=64"});
  const auto count = static_cast<uint32_t>(ids.size());
  const auto refusal = [&](const std::string& plan, uint32_t rows) {
    auto from = reader->open_sequence(count, count);
    EXPECT_TRUE(reader->read(*from, std::span(ids).first(rows), 64, 0, {}).ok());
    auto engine = reader->with_plan(plan);
    auto sequence = (*engine)->open_sequence(count, count);
    EXPECT_TRUE(sequence.ok());
    const auto adopted = sequence->adopt_exact(*from);
    EXPECT_EQ(sequence->committed(), adopted.ok() ? rows : 0u);
    return adopted.ok() ? std::string() : adopted.error().message;
  };
  EXPECT_EQ(refusal("int8 settle=prompt", 50), "");
  EXPECT_NE(refusal("int8 settle=prompt", 80).find("settled"), std::string::npos);
  EXPECT_NE(refusal("int8 settle=32", 50).find("settles before"), std::string::npos);
  EXPECT_NE(refusal("int8 settle=50", 50).find("settles before or at"), std::string::npos);
  EXPECT_NE(refusal("snapkv:0.5 settle=prompt", 50).find("observed"), std::string::npos);
  EXPECT_NE(refusal("exact_type=bf16 settle=prompt", 50).find("differ"), std::string::npos);
}

}  // namespace
}  // namespace skvis::testing
