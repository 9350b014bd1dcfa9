// SPDX-License-Identifier: Apache-2.0
// A resolved plan written out and read again is the same plan, and its identity says so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "plan/presets.hpp"
#include "shapes.hpp"

namespace skvis {
namespace {

constexpr std::string_view kPlans[] = {
    "int8",
    "int4 hadamard",
    "int4 exact=0",
    "bf16",
    "snapkv:0.5",
    "snapkv:0.5 sinks=0",
    "snapkv:0.51",
    "snapkv:0.5 recent=64",
    "snapkv:0.5 pool=max",
    "snapkv:0.5 group=max",
    "snapkv:0.5 layers=1- heads=1,3",
    "streaming:256",
    "streaming:8MiB",
    "int4 snapkv:0.3 settle=prompt",
    "int8 settle=100,200,300",
    "int8 settle=64 settle_end=true",
    "int8 exact_type=bf16",
    R"({"store": [{"key": "int8"}, {"layers": "1,3", "heads": "0", "value": "int4"}]})",
    R"({"keep": {"selector": "streaming", "ratio": 0.5, "table": [{"layers": 1, "tokens": 300}]}})",
    R"({"keep": {"selector": "snapkv", "ratio": 0.5, "budget": "entropy", "table": [
        [1, 0.5, 0.25, 0],
        [1,1,1,1], [1,1,1,1], [1,1,1,1], [1,1,1,1], [0.1, 0.2, 0.3, 0.4]]}})",
    R"({"keep": {"selector": "snapkv", "tokens": 500, "budget": "entropy", "groups": 4,
        "spread": 0.1,
        "table": [[1, 0.5, 0.25, 0], [1,1,1,1], [1,1,1,1], [1,1,1,1], [1,1,1,1], [1,1,1,1]]}})",
    R"({"keep": {"selector": "streaming", "budget": "classes", "retrieval": 0.25, "table":
        [[1, 0.5, 0.25, 0], [1,1,1,1], [1,1,1,1], [1,1,1,1], [1,1,1,1], [0.1, 0.2, 0.3, 0.4]]}})",
    "snapkv:0.5 budget=prefix settle=prompt",
};

TEST(PlanIdentity, plans_written_out_resolve_to_themselves) {
  for (const CacheShape& shape : {tiny_shape(), sliding_shape()}) {
    for (const std::string_view text : kPlans) {
      const auto plan = resolve_plan(text, shape);
      ASSERT_TRUE(plan.ok()) << text << ": " << plan.error().message;
      const std::string json = dump_json(plan_to_json(*plan));
      const auto again = resolve_plan(json, shape);
      ASSERT_TRUE(again.ok()) << json << ": " << again.error().message;
      EXPECT_EQ(dump_json(plan_to_json(*again)), json);
      EXPECT_EQ(again->identity, plan->identity);
      EXPECT_EQ(again->name, plan->name);
      EXPECT_EQ(again->row_bytes, plan->row_bytes);
      EXPECT_EQ(again->selectable, plan->selectable);
      EXPECT_EQ(again->keep.settings, plan->keep.settings);
    }
  }
}

TEST(PlanIdentity, plans_that_store_other_bytes_differ) {
  std::set<uint64_t> identities;
  for (const std::string_view text : kPlans) {
    for (const std::string_view model : {"model a", "model b"}) {
      for (const bool precise : {false, true}) {
        const auto plan = resolve_plan(
            text, tiny_shape(),
            {.precise = precise, .model_identity = std::string(model), .plan_folder = {}});
        ASSERT_TRUE(plan.ok());
        EXPECT_TRUE(identities.insert(plan->identity).second || precise) << text;
      }
    }
  }
  const auto full = resolve_plan("int8", tiny_shape());
  const auto sliding = resolve_plan("int8", sliding_shape());
  ASSERT_TRUE(full.ok() && sliding.ok());
  EXPECT_NE(full->identity, sliding->identity);
}

TEST(PlanIdentity, names_and_spellings_do_not_count) {
  const auto a = resolve_plan("int8", tiny_shape());
  const auto b = resolve_plan(R"({"name": "other", "store": [{"key": "int8", "value": "int8",
                                  "layers": "0-5", "heads": "0,1,2-3"}], "settle": 256})",
                              tiny_shape());
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->identity, b->identity);
}

TEST(Presets, every_built_in_one_resolves_and_states_its_source) {
  ASSERT_GE(built_in_presets().size(), 8u);
  for (const Preset& preset : built_in_presets()) {
    const bool of_default_model = preset.name.starts_with("tangram-");
    const auto plan = resolve_plan(preset.name, of_default_model ? default_shape() : tiny_shape());
    ASSERT_TRUE(plan.ok()) << preset.name << ": " << plan.error().message;
    EXPECT_EQ(plan->name, preset.name);
    const auto json = parse_json(preset.text, preset.name);
    ASSERT_TRUE(json.ok());
    EXPECT_TRUE(json->contains("description")) << preset.name;
    EXPECT_TRUE(json->contains("source")) << preset.name;
    if (!of_default_model) {
      EXPECT_TRUE(resolve_plan(preset.name, sliding_shape()).ok());
    }
  }
}

TEST(Presets, those_that_were_measured_on_a_model_say_that_another_one_is_none) {
  for (const std::string_view name : {"tangram-snapkv-50", "tangram-keydiff-25"}) {
    const std::string problem = problem_of(name);
    EXPECT_THAT(problem, testing::HasSubstr("30")) << problem;
    EXPECT_THAT(problem, testing::HasSubstr("6")) << problem;
  }
}

// A share is a mean plus two deviations of rows that can be dropped.
TEST(Presets, measured_shares_keep_what_their_name_says) {
  for (const Preset& preset : built_in_presets()) {
    if (!preset.name.starts_with("tangram-")) continue;
    const auto json = parse_json(preset.text, preset.name);
    ASSERT_TRUE(json.ok());
    double sum = 0;
    size_t heads = 0;
    for (const auto& layer : (*json)["keep"]["table"]) {
      for (const double share : layer) sum += share, ++heads;
    }
    ASSERT_EQ(heads, 90u) << preset.name;
    const double ratio = preset.name.ends_with("-25") ? 0.25 : 0.5;
    // Two deviations are reserved above the mean: 1.06 to 1.27 times (docs/fidelity.md).
    EXPECT_GT(sum / 90, ratio) << preset.name;
    EXPECT_LT(sum / 90, 1.3 * ratio) << preset.name;
  }
}

TEST(Presets, names_cannot_leave_their_folder) {
  for (const std::string_view name : {"", "..", ".hidden", "a/b", "a\\b", "/etc/passwd"}) {
    const auto preset = find_preset(name, "/");
    ASSERT_TRUE(preset.ok());
    EXPECT_FALSE(preset->has_value()) << name;
  }
}

}  // namespace
}  // namespace skvis
