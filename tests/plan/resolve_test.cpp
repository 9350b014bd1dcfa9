// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/file.hpp"
#include "files.hpp"
#include "plan/presets.hpp"
#include "plan/read.hpp"
#include "plan/resolve_heads.hpp"
#include "shapes.hpp"

namespace skvis {
namespace {

using testing::HasSubstr;

Plan plan_of(std::string_view text, const CacheShape& shape = tiny_shape(),
             const PlanOptions& options = {}) {
  auto plan = resolve_plan(text, shape, options);
  EXPECT_TRUE(plan.ok()) << text << ": " << (plan.ok() ? "" : plan.error().message);
  return plan ? *plan : Plan{};
}

TEST(ResolvePlan, an_empty_object_is_the_full_cache) {
  const Plan plan = plan_of("{}");
  EXPECT_FALSE(plan.drops());
  EXPECT_EQ(plan.sinks, 0u);
  EXPECT_EQ(plan.exact, 0u);
  EXPECT_EQ(plan.recent, 0u);
  EXPECT_EQ(plan.settle.step, 256u);
  ASSERT_EQ(plan.heads.size(), 24u);
  for (const HeadPlan& head : plan.heads) {
    EXPECT_EQ(head.key.text(), "f16");
    EXPECT_TRUE(head.keep_all);
  }
  EXPECT_EQ(plan.row_bytes, std::vector<uint32_t>(24, 256));
  EXPECT_EQ(plan.exact_row_bytes(), 256u);
}

TEST(ResolvePlan, defaults_follow_what_the_plan_does) {
  const Plan coarse = plan_of(R"({"store": [{"layers": "3-", "key": "int4"}]})");
  EXPECT_EQ(coarse.exact, 32u);
  EXPECT_EQ(coarse.sinks, 0u);
  EXPECT_EQ(plan_of("int8").exact, 0u);
  const Plan snapkv = plan_of("snapkv:0.5");
  EXPECT_EQ(snapkv.sinks, 4u);
  EXPECT_EQ(snapkv.recent, 32u);
  EXPECT_EQ(snapkv.protected_tail(), 32u);
  EXPECT_EQ(plan_of("snapkv:0.5 observe=64").recent, 64u);
  EXPECT_EQ(plan_of("snapkv:0.5 sinks=0 recent=8").recent, 8u);
  EXPECT_EQ(plan_of("streaming:0.5").recent, 0u);
}

TEST(ResolvePlan, later_store_rules_override_earlier_ones_for_each_role) {
  const Plan plan = plan_of(R"({"store": [{"key": "int8", "value": "int8"},
      {"layers": "0-1", "key": "f16"}, {"layers": "1-", "heads": 3, "value": "int4"}]})");
  EXPECT_EQ(plan.head({0, 0}).key.text(), "f16");
  EXPECT_EQ(plan.head({0, 3}).value.text(), "int8");
  EXPECT_EQ(plan.head({1, 3}).value.text(), "int4");
  EXPECT_EQ(plan.head({1, 3}).key.text(), "f16");
  EXPECT_EQ(plan.head({5, 2}).key.text(), "int8");
  EXPECT_EQ(plan.row_bytes[plan.shape.index({0, 0})], 128u + 68u);
  EXPECT_EQ(plan.row_bytes[plan.shape.index({5, 3})], 68u + 36u);
}

TEST(ResolvePlan, sliding_layers_are_left_alone) {
  const Plan plan = plan_of("snapkv:0.5 int8", sliding_shape());
  for (uint32_t layer = 0; layer < 6; ++layer) {
    EXPECT_EQ(plan.head({layer, 0}).keep_all, layer % 2 == 0);
    EXPECT_EQ(plan.selectable[plan.shape.index({layer, 0})], layer % 2);
    EXPECT_EQ(plan.head({layer, 0}).key.text(), "int8");
  }
  EXPECT_THAT(problem_of("snapkv:0.5 layers=0,2,4", sliding_shape()), HasSubstr("layers slide"));
}

TEST(ResolvePlan, layers_that_share_rows_are_treated_as_their_owner) {
  CacheShape shape = tiny_shape();
  shape.owner = {0, 1, 2, 3, 2, 3};
  const Plan plan =
      plan_of(R"({"store": [{"layers": 3, "key": "int8"}, {"layers": 4, "key": "int4"}],
                                "keep": {"selector": "streaming", "ratio": 0.5, "layers": "2"}})",
              shape);
  EXPECT_EQ(plan.head({5, 0}).key.text(), "int8");
  EXPECT_EQ(plan.head({4, 0}).key.text(), "f16");
  EXPECT_FALSE(plan.head({4, 0}).keep_all);
  EXPECT_TRUE(plan.head({5, 0}).keep_all);
}

TEST(ResolvePlan, precise_plans_keep_exact_rows_in_f32_and_other_codes_as_they_are) {
  const Plan plan = plan_of("key=int4 hadamard value=bf16", tiny_shape(),
                            {.precise = true, .model_identity = {}, .plan_folder = {}});
  EXPECT_EQ(plan.exact_type, ExactType::f32);
  EXPECT_EQ(plan.exact_row_bytes(), 512u);
  EXPECT_EQ(plan.heads[0].key.text(), "int4 hadamard");
  EXPECT_EQ(plan.heads[0].value.text(), "f32");
}

TEST(ResolvePlan, tables_give_every_head_its_amount) {
  const Plan rules = plan_of(R"({"keep": {"selector": "streaming", "ratio": 0.5, "table": [
      {"layers": "0-1", "ratio": 0.75}, {"layers": 1, "heads": "2-", "tokens": 300},
      {"layers": 5, "ratio": 0}]}})");
  EXPECT_EQ(rules.keep.budget->name, "table");
  const auto at = [&](HeadId id) { return rules.keep.table[rules.shape.index(id)]; };
  EXPECT_EQ(at({0, 0}).value, 0.75);
  EXPECT_EQ(at({1, 3}).unit, AmountUnit::tokens);
  EXPECT_EQ(at({1, 3}).value, 300);
  EXPECT_EQ(at({3, 0}).value, 0.5);
  EXPECT_EQ(at({5, 0}).value, 0);

  const Plan matrix = plan_of(R"({"keep": {"selector": "snapkv", "table": [[1, 0.5, 0.25, 0],
      [1,1,1,1], [1,1,1,1], [1,1,1,1], [1,1,1,1], [0.1, 0.2, 0.3, 0.4]]}})");
  std::vector<uint32_t> counts(24);
  matrix.keep.budget->counts(matrix.budget_request(1000), counts);
  EXPECT_THAT(std::vector<uint32_t>(counts.begin(), counts.begin() + 5),
              testing::ElementsAre(1000, 500, 250, 0, 1000));
  EXPECT_EQ(counts[23], 400u);
}

TEST(ResolvePlan, broken_tables_are_refused) {
  const auto with = [](std::string_view table) {
    return problem_of(fmt::format(R"({{"keep": {{"selector": "snapkv", "table": {}}}}})", table));
  };
  EXPECT_THAT(with("[[1,1,1,1]]"), HasSubstr("has 1 rows, expected one per layer, 6"));
  EXPECT_THAT(with("[[1],[1],[1],[1],[1],[1]]"), HasSubstr("expected one per KV head, 4"));
  EXPECT_THAT(with("[[1.5]]"), HasSubstr("keep.table[0][0] must be a ratio"));
  EXPECT_THAT(with("[[1], 3]"), HasSubstr("keep.table[1] must be an array"));
  EXPECT_THAT(with("[]"), HasSubstr("keep.table must be"));
  EXPECT_THAT(with("3"), HasSubstr("found a number"));
  EXPECT_THAT(with(R"([{"layers": "0-4", "ratio": 0.5}])"), HasSubstr("leaves 4 heads without"));
  EXPECT_THAT(with(R"([{"layers": "0-9", "ratio": 0.5}])"), HasSubstr("keep.table[0].layers"));
  EXPECT_THAT(with(R"([{"layers": "*"}])"), HasSubstr("expected ratio or tokens"));
  EXPECT_THAT(with(R"([{"ratoi": 0.5}])"), HasSubstr("did you mean 'ratio'?"));
  EXPECT_THAT(with(R"([{"tokens": 10}])"), HasSubstr("never dropped"));
  EXPECT_THAT(
      problem_of(R"({"keep": {"selector": "snapkv", "budget": "uniform", "table": [[1]]}})"),
      HasSubstr("'uniform' does not read a 'table'"));
  EXPECT_THAT(problem_of(R"({"keep": {"selector": "snapkv", "budget": "table", "ratio": 0.5}})"),
              HasSubstr("'table' needs a 'table'"));
}

constexpr std::string_view kScores =
    "[[1, 0.5, 0.25, 0], [1,1,1,1], [1,1,1,1], [1,1,1,1], [1,1,1,1], [0.1, 0.2, 0.3, 0.4]]";

Plan scored_plan(std::string_view keep) {
  return plan_of(fmt::format(R"({{"recent": 60, "keep": {{{}, "table": {}}}}})", keep, kScores));
}

TEST(ResolvePlan, scores_of_heads_stand_beside_an_amount) {
  const Plan plan = scored_plan(R"("selector": "snapkv", "budget": "entropy", "ratio": 0.3)");
  EXPECT_TRUE(plan.keep.table.empty());
  EXPECT_EQ(plan.keep.amount.value, 0.3);
  EXPECT_THAT(std::vector<double>(plan.keep.head_scores.begin(), plan.keep.head_scores.begin() + 5),
              testing::ElementsAre(1, 0.5, 0.25, 0, 1));
  std::vector<uint32_t> counts(24);
  plan.keep.budget->counts(plan.budget_request(1000), counts);
  EXPECT_THAT(std::vector<uint32_t>(counts.begin(), counts.begin() + 4),
              testing::ElementsAre(400, 400, 200, 200));
}

TEST(ResolvePlan, head_classes_take_no_amount) {
  const Plan plan =
      scored_plan(R"("selector": "streaming", "budget": "classes", "retrieval": 0.75)");
  std::vector<uint32_t> counts(24);
  plan.keep.budget->counts(plan.budget_request(1000), counts);
  EXPECT_EQ(std::count(counts.begin(), counts.end(), 1000u), 18);
  EXPECT_EQ(counts[3], 64u);
  EXPECT_EQ(counts[20], 64u);
}

TEST(ResolvePlan, what_does_not_fit_a_table_of_scores_is_refused) {
  const auto with = [](std::string_view keep) {
    return problem_of(fmt::format(R"({{"keep": {{"selector": "snapkv", {}}}}})", keep));
  };
  EXPECT_THAT(with(R"("budget": "entropy", "ratio": 0.5)"), HasSubstr("needs a 'table'"));
  EXPECT_THAT(with(fmt::format(R"("budget": "entropy", "table": {})", kScores)),
              HasSubstr("how much?"));
  EXPECT_THAT(with(fmt::format(R"("budget": "entropy", "bytes": 5000000, "table": {})", kScores)),
              HasSubstr("takes a ratio or tokens, not bytes"));
  EXPECT_THAT(with(fmt::format(R"("budget": "classes", "ratio": 0.5, "table": {})", kScores)),
              HasSubstr("follows from retrieval"));
  EXPECT_THAT(with(R"("budget": "entropy", "ratio": 0.5, "table": [{"layers": 1, "ratio": 1}])"),
              HasSubstr("a table of scores"));
  EXPECT_THAT(with(R"("budget": "entropy", "ratio": 0.5, "table": [[1.5]])"),
              HasSubstr("must be a score from 0 to 1"));
  EXPECT_THAT(with(R"("budget": "classes", "table": [[1]])"), HasSubstr("one per layer, 6"));
}

TEST(ResolvePlan, a_budget_that_needs_the_prompt_is_refused_on_a_grid) {
  EXPECT_THAT(problem_of("snapkv:0.5 budget=prefix"), HasSubstr("use settle=prompt"));
  EXPECT_THAT(problem_of("snapkv:0.5 budget=prefix settle_end=true"),
              HasSubstr("use settle=prompt"));
  EXPECT_EQ(problem_of("snapkv:0.5 budget=prefix settle=prompt"), "no problem");
}

TEST(ResolvePlan, amounts_below_the_protected_rows_are_refused_with_figures) {
  EXPECT_THAT(problem_of("streaming:100 sinks=4 exact=64 recent=97"),
              HasSubstr("fewer than the 101 that are never dropped"));
  EXPECT_EQ(problem_of("streaming:101 sinks=4 exact=64 recent=97"), "no problem");
  // 24 heads: 36 exact rows of 256 bytes each, 4 recent rows of 136.
  const uint64_t least = 24 * (36 * 256 + 4 * 136);
  EXPECT_EQ(problem_of(fmt::format("int8 streaming:{}B exact=32 recent=36", least)), "no problem");
  EXPECT_THAT(problem_of(fmt::format("int8 streaming:{}B exact=32 recent=36", least - 1)),
              HasSubstr(fmt::format("fewer than the {} bytes", least)));
}

TEST(ResolvePlan, a_selector_that_needs_the_prompt_is_refused_on_a_grid) {
  Selector selector = *find_selector("snapkv");
  selector.horizon = Horizon::prompt;
  Plan plan = plan_of("snapkv:0.5 settle=256 settle_end=true");
  plan.keep.selector = &selector;
  Problems grid;
  check_plan(plan, grid);
  EXPECT_THAT(grid.error("'p'").message, HasSubstr("use settle=prompt"));
  plan.settle = {.step = 0, .positions = {}, .at_prompt_end = true};
  Problems prompt;
  check_plan(plan, prompt);
  EXPECT_TRUE(prompt.empty());
}

TEST(ResolvePlan, grids_are_checked) {
  for (const std::string_view settle :
       {"15", "65537", "-1", "2.5", "true", "\"prmpt\"", "[]", "[15]", "[64, 64]", "[64, 32]",
        "[64, \"x\"]", "[18446744073709551615]", "{}"}) {
    EXPECT_THAT(problem_of(fmt::format(R"({{"settle": {}}})", settle)), HasSubstr("settle"))
        << settle;
  }
  EXPECT_THAT(problem_of(R"({"settle": "prompt", "settle_end": false})"), HasSubstr("contradicts"));
  EXPECT_THAT(problem_of("int8 settle=64,100 exact=100"), HasSubstr("nothing would ever"));
  EXPECT_EQ(problem_of("int8 settle=16"), "no problem");
  EXPECT_EQ(problem_of("int8 settle=65536"), "no problem");
}

TEST(ResolvePlan, unknown_and_misplaced_keys_are_named) {
  EXPECT_THAT(problem_of(R"({"snks": 4})"), HasSubstr("'snks'; did you mean 'sinks'?"));
  EXPECT_THAT(problem_of(R"({"observe": 4})"), HasSubstr("'observe' belongs inside 'keep'"));
  EXPECT_THAT(problem_of(R"({"store": [{"keys": "int8", "value": "int8"}]})"),
              HasSubstr("store[0]: unknown key 'keys'; did you mean 'key'?"));
  EXPECT_THAT(problem_of(R"({"keep": {"selector": "snapkv", "ratio": 0.5, "obsrve": 3}})"),
              HasSubstr("did you mean 'observe'?"));
}

TEST(ResolvePlan, values_of_a_wrong_kind_are_refused) {
  for (const std::string_view json :
       {R"({"sinks": "4"})",
        R"({"sinks": -1})",
        R"({"sinks": 1e9})",
        R"({"sinks": 65})",
        R"({"exact": 1.5})",
        R"({"recent": []})",
        R"({"exact_type": "f64"})",
        R"({"name": 3})",
        R"({"store": {}})",
        R"({"store": [3]})",
        R"({"store": [{}]})",
        R"({"store": [{"key": 3}]})",
        R"({"store": [{"key": "f16", "layers": -1}]})",
        R"({"store": [{"key": "f16", "heads": {}}]})",
        R"({"keep": 3})",
        R"({"keep": {}})",
        R"({"keep": {"selector": 3}})",
        R"({"keep": {"selector": "snapkv", "ratio": 0}})",
        R"({"keep": {"selector": "snapkv", "ratio": 1.01}})",
        R"({"keep": {"selector": "snapkv", "ratio": "half"}})",
        R"({"keep": {"selector": "snapkv", "ratio": 0.5, "tokens": 100}})",
        R"({"keep": {"selector": "snapkv", "ratio": 0.5, "kernel": 4}})",
        R"({"keep": {"selector": "snapkv", "ratio": 0.5, "kernel": 65}})",
        R"({"keep": {"selector": "snapkv", "ratio": 0.5, "observe": 0}})",
        R"({"keep": {"selector": "snapkv", "ratio": 0.5, "pool": "median"}})",
        R"({"keep": {"selector": "snapkv", "ratio": 0.5, "pool": 1}})",
        R"({"keep": {"selector": "all", "ratio": 0.5}})",
        "{",
        "{\"a\":[[[[[[[[[[]]]]]]]]]]}"}) {
    EXPECT_NE(problem_of(json), "no problem") << json;
  }
}

TEST(ResolvePlan, all_problems_of_an_object_are_reported_at_once) {
  const std::string problem = problem_of(R"({"name": "broken", "sinks": -1, "settle": 3,
      "keep": {"selector": "snapkv", "ratio": 2, "kernel": 4, "heads": "9"},
      "store": [{"layers": "0-9", "key": "int9"}], "wibble": 1})");
  EXPECT_THAT(problem, HasSubstr("plan 'broken' has 8 problems:\n"));
  for (const std::string_view part :
       {"sinks", "settle", "ratio", "kernel", "keep.heads", "store[0].layers", "int9", "wibble"}) {
    EXPECT_THAT(problem, HasSubstr(part));
  }
}

TEST(ResolvePlan, codes_that_do_not_fit_the_model_are_refused) {
  CacheShape shape = tiny_shape();
  shape.head_dim = 9;
  EXPECT_THAT(problem_of("int4", shape), HasSubstr("key code 'int4' does not fit this model"));
  EXPECT_THAT(problem_of("int4", shape), HasSubstr("value code 'int4'"));
}

TEST(ResolvePlan, impossible_shapes_are_refused) {
  for (const auto& change : std::vector<std::function<void(CacheShape&)>>{
           [](CacheShape& shape) { shape.layers = 0; },
           [](CacheShape& shape) { shape.kv_heads = 0; },
           [](CacheShape& shape) { shape.query_heads = 7; },
           [](CacheShape& shape) { shape.head_dim = 513; },
           [](CacheShape& shape) { shape.window = {1}; },
           [](CacheShape& shape) { shape.owner = {1, 2, 2, 2, 2, 2}; },
           [](CacheShape& shape) { shape.owner = {9, 1, 2, 3, 4, 5}; }}) {
    CacheShape shape = tiny_shape();
    change(shape);
    EXPECT_NE(problem_of("int8", shape), "no problem");
  }
}

TEST(ResolvePlan, files_and_preset_folders_are_read) {
  const TempFolder temp;
  const std::filesystem::path& folder = temp.path();
  ASSERT_TRUE(write_file(folder / "mine.json", R"({"exact": 5})").ok());
  ASSERT_TRUE(write_file(folder / "int8.json", R"({"exact": 6})").ok());
  ASSERT_TRUE(write_file(folder / "bad.json", R"({"exat": 6})").ok());
  const Plan by_path = plan_of((folder / "mine.json").string());
  EXPECT_EQ(by_path.exact, 5u);
  EXPECT_EQ(by_path.name, "mine");
  const PlanOptions options{.precise = false, .model_identity = {}, .plan_folder = folder};
  EXPECT_EQ(plan_of("mine", tiny_shape(), options).exact, 5u);
  EXPECT_EQ(plan_of("int8", tiny_shape(), options).exact, 6u);
  EXPECT_EQ(plan_of("int8", tiny_shape()).exact, 0u);
  EXPECT_THAT(resolve_plan("bad", tiny_shape(), options).error().message,
              HasSubstr("did you mean 'exact'?"));
  EXPECT_FALSE(resolve_plan("../mine", tiny_shape(), options).ok());
  EXPECT_THAT(problem_of((folder / "none.json").string()), HasSubstr("none.json"));
}

TEST(ResolvePlan, parameters_of_selector_and_budget_stand_side_by_side) {
  const Plan plan = plan_of("lagkv:0.5 lag=64 budget=pyramid beta=7.5");
  EXPECT_EQ(plan.keep.budget->name, "pyramid");
  const Settings expected = {{"beta", 7.5}, {"lag", 64}, {"skip", 4}};
  EXPECT_EQ(plan.keep.settings, expected);
  EXPECT_EQ(plan_to_json(plan)["keep"]["beta"], 7.5);
  EXPECT_EQ(plan_of(dump_json(plan_to_json(plan))).identity, plan.identity);
  EXPECT_NE(plan_of("lagkv:0.5 lag=64 budget=pyramid").identity, plan.identity);
}

TEST(ResolvePlan, parameters_of_a_budget_that_is_not_used_are_refused) {
  const auto plan = resolve_plan("lagkv:0.5 beta=7", tiny_shape(), {});
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.error().message, HasSubstr("beta"));
}

TEST(ResolvePlan, bytes_are_refused_where_the_budget_does_not_take_them) {
  const auto plan = resolve_plan("knorm:1MiB budget=pyramid", tiny_shape(), {});
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.error().message, HasSubstr("'pyramid' takes a ratio or tokens, not bytes"));
}

TEST(ResolvePlan, no_parameter_has_the_name_of_another_key) {
  std::vector<std::string_view> keys = keep_keys();
  for (const std::string_view key : plan_keys()) keys.push_back(key);
  for (const Selector* selector : selectors()) {
    for (const Budget* budget : budgets()) {
      std::vector<std::string_view> all = keys;
      for (const Parameter& parameter : selector->parameters) all.push_back(parameter.name);
      for (const Parameter& parameter : budget->parameters) all.push_back(parameter.name);
      std::sort(all.begin(), all.end());
      EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end())
          << selector->name << " with " << budget->name;
    }
  }
}

}  // namespace
}  // namespace skvis
