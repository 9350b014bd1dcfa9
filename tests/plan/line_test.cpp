// SPDX-License-Identifier: Apache-2.0
// The one-line form, as --kv takes it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shapes.hpp"

namespace skvis {
namespace {

using testing::HasSubstr;

Plan plan_of(std::string_view line) {
  auto plan = resolve_plan(line, tiny_shape());
  EXPECT_TRUE(plan.ok()) << line << ": " << (plan.ok() ? "" : plan.error().message);
  return plan ? *plan : Plan{};
}

std::string codes(std::string_view line) {
  const Plan plan = plan_of(line);
  return plan.heads.empty() ? "" : plan.heads[0].key.text() + " / " + plan.heads[0].value.text();
}

TEST(Line, a_bare_codec_stores_keys_and_values) {
  EXPECT_EQ(codes("int8"), "int8 / int8");
  EXPECT_EQ(codes("int4 exact=0"), "int4 / int4");
}

TEST(Line, a_bare_transform_belongs_to_the_keys_of_a_bare_codec) {
  EXPECT_EQ(codes("int4 hadamard"), "int4 hadamard / int4");
  EXPECT_EQ(codes("hadamard int4"), "int4 hadamard / int4");
}

TEST(Line, a_transform_continues_the_code_before_it) {
  EXPECT_EQ(codes("key=int4 hadamard value=int4"), "int4 hadamard / int4");
  EXPECT_EQ(codes("key=int8 value=int4 hadamard"), "int8 / int4 hadamard");
  EXPECT_EQ(codes("value=int4 key=int8 hadamard"), "int8 hadamard / int4");
}

TEST(Line, what_is_not_named_stays_f16_and_names_override_bare_words) {
  EXPECT_EQ(codes("key=int4"), "int4 / f16");
  EXPECT_EQ(codes("int4 key=int8"), "int8 / int4");
}

TEST(Line, a_bare_selector_keeps_a_share_a_number_or_bytes) {
  const Plan share = plan_of("snapkv:0.5");
  EXPECT_EQ(share.keep.selector->name, "snapkv");
  EXPECT_EQ(share.keep.budget->name, "uniform");
  EXPECT_EQ(share.keep.amount.unit, AmountUnit::ratio);
  EXPECT_EQ(share.keep.amount.value, 0.5);
  const Plan tokens = plan_of("streaming:256");
  EXPECT_EQ(tokens.keep.amount.unit, AmountUnit::tokens);
  EXPECT_EQ(tokens.keep.amount.value, 256);
  const Plan bytes = plan_of("streaming:1.5MiB");
  EXPECT_EQ(bytes.keep.amount.unit, AmountUnit::bytes);
  EXPECT_EQ(bytes.keep.amount.value, 1572864);
  EXPECT_EQ(plan_of("streaming:900000B").keep.amount.value, 900000);
  EXPECT_EQ(plan_of("streaming:1.0").keep.amount.unit, AmountUnit::ratio);
}

TEST(Line, every_key_of_the_language_has_its_place) {
  const Plan plan = plan_of(
      "key=int4 value=int8 keep=snapkv:0.25 sinks=2 exact=16 recent=64 settle=prompt observe=48"
      " kernel=7 pool=max group=max exact_type=bf16 layers=2- heads=1,3 budget=uniform");
  EXPECT_EQ(plan.sinks, 2u);
  EXPECT_EQ(plan.exact, 16u);
  EXPECT_EQ(plan.recent, 64u);
  EXPECT_EQ(plan.exact_type, ExactType::bf16);
  EXPECT_EQ(plan.settle.step, 0u);
  EXPECT_TRUE(plan.settle.at_prompt_end);
  const Settings expected = {{"observe", 48}, {"kernel", 7}, {"pool", 1}, {"group", 1}};
  EXPECT_EQ(plan.keep.settings, expected);
  EXPECT_TRUE(plan.head({1, 1}).keep_all);
  EXPECT_TRUE(plan.head({2, 0}).keep_all);
  EXPECT_FALSE(plan.head({2, 1}).keep_all);
  EXPECT_FALSE(plan.head({5, 3}).keep_all);
}

TEST(Line, codecs_and_selectors_combine) {
  const Plan plan = plan_of("int4 hadamard snapkv:0.5 settle=512 settle_end=true");
  EXPECT_EQ(plan.heads[0].key.text(), "int4 hadamard");
  EXPECT_TRUE(plan.drops());
  EXPECT_EQ(plan.settle.step, 512u);
  EXPECT_TRUE(plan.settle.at_prompt_end);
  EXPECT_EQ(plan_of("int8 settle=64,128,1000").settle.positions,
            (std::vector<uint32_t>{64, 128, 1000}));
}

TEST(Line, all_keeps_every_row) {
  EXPECT_FALSE(plan_of("all").drops());
  EXPECT_FALSE(plan_of("int8 keep=all").drops());
}

TEST(Line, a_preset_can_be_changed) {
  const Plan plan = plan_of("int4-hadamard exact=64 snapkv:0.5");
  EXPECT_EQ(plan.heads[0].key.text(), "int4 hadamard");
  EXPECT_EQ(plan.exact, 64u);
  EXPECT_TRUE(plan.drops());
  const Plan snapkv = plan_of("snapkv-50 observe=16 value=int8");
  EXPECT_EQ(snapkv.keep.settings.at("observe"), 16);
  EXPECT_EQ(snapkv.keep.amount.value, 0.5);
  EXPECT_EQ(snapkv.heads[0].value.text(), "int8");
  EXPECT_EQ(snapkv.heads[0].key.text(), "f16");
}

TEST(Line, unknown_words_and_keys_name_the_nearest) {
  EXPECT_THAT(problem_of("int44"), HasSubstr("'int44'; did you mean 'int4'?"));
  EXPECT_THAT(problem_of("snapvk:0.5"), HasSubstr("did you mean 'snapkv'?"));
  EXPECT_THAT(problem_of("int4 hadamrd"), HasSubstr("did you mean 'hadamard'?"));
  EXPECT_THAT(problem_of("int4-hadamrd"), HasSubstr("did you mean 'int4-hadamard'?"));
  EXPECT_THAT(problem_of("int4 sink=4"), HasSubstr("'sink'; did you mean 'sinks'?"));
  EXPECT_THAT(problem_of("snapkv:0.5 observ=3"), HasSubstr("did you mean 'observe'?"));
  EXPECT_THAT(problem_of("key=int5"), HasSubstr("store[0].key: unknown codec 'int5'"));
}

TEST(Line, contradictions_are_refused) {
  EXPECT_THAT(problem_of("int4 int8"), HasSubstr("second codec"));
  EXPECT_THAT(problem_of("sinks=1 sinks=2"), HasSubstr("given twice"));
  EXPECT_THAT(problem_of("snapkv:0.5 streaming:0.5"), HasSubstr("given twice"));
  EXPECT_THAT(problem_of("int4 observe=3"), HasSubstr("belongs to a selector"));
  EXPECT_THAT(problem_of("hadamard"), HasSubstr("without a codec"));
  EXPECT_THAT(problem_of("snapkv"), HasSubstr("how much?"));
  EXPECT_THAT(problem_of("key=hadamard"), HasSubstr("names no codec"));
  EXPECT_THAT(problem_of("streaming:0.5 kernel=5"), HasSubstr("unknown key 'kernel'"));
}

TEST(Line, odd_amounts_are_refused) {
  for (const std::string_view amount : {":", ":x", ":-1", ":0.5x", ":1e3", ":5kb", ":nan", ":inf",
                                        ":99999999999999999999", ":0", ":0.0", ":1.5", ":2"}) {
    EXPECT_NE(problem_of("streaming" + std::string(amount)), "no problem") << amount;
  }
  EXPECT_THAT(problem_of("streaming:1"), HasSubstr("(1.0 would be a ratio)"));
}

TEST(Line, all_problems_are_reported_at_once) {
  const std::string problem = problem_of("int44 sink=4 exact=-1 keep=snapvk:2.5 settle=3 wibble");
  EXPECT_THAT(problem, HasSubstr("has 6 problems:\n  "));
  for (const std::string_view part : {"int44", "sink", "exact", "snapvk", "settle", "wibble"}) {
    EXPECT_THAT(problem, HasSubstr(part));
  }
}

TEST(Line, empty_and_endless_lines_are_refused) {
  EXPECT_THAT(problem_of("   "), HasSubstr("the plan is empty"));
  EXPECT_THAT(problem_of(std::string(100000, 'x')), HasSubstr("too many for one line"));
  std::string words;
  for (int i = 0; i < 2000; ++i) words += "w" + std::to_string(i) + " ";
  EXPECT_LT(problem_of(words).size(), 20000u);
}

}  // namespace
}  // namespace skvis
