// SPDX-License-Identifier: Apache-2.0
#include "eval/needle.hpp"

#include <gmock/gmock.h>

#include <array>
#include <set>
#include <sstream>

#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::HasSubstr;

// Running text that the tree has.
std::string prose() {
  const auto text = read_file(source_path("docs/architecture.md"));
  EXPECT_TRUE(text.ok());
  return *text;
}

std::string decoded(const Engine& engine, const std::vector<uint32_t>& ids) {
  return engine.model().tokenizer->decode(ids);
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(NeedleText, a_prompt_is_the_template_around_text_needle_question_and_begun_answer) {
  const auto engine = tiny_engine();
  const std::string filler = prose();
  const NeedleSettings settings{.context = 400};
  std::set<std::string> keys;
  for (uint32_t number = 0; number < 4; ++number) {
    const auto prompt = make_needle_prompt(engine->model(), settings, filler, number);
    ASSERT_TRUE(prompt.ok()) << prompt.error().message;
    ASSERT_EQ(prompt->turns.size(), 1u);
    const NeedleTurn& turn = prompt->turns[0];
    EXPECT_LE(turn.tokens.size(), 400u);
    EXPECT_GE(turn.tokens.size(), 380u);  // no word of the filler is longer
    const std::string text = decoded(*engine, turn.tokens);
    const std::string needle =
        "One of the special magic numbers for " + turn.key + " is: " + turn.number + ".";
    EXPECT_EQ(count_of(text, needle), 1u) << text;
    EXPECT_EQ(count_of(text, turn.number), 1u);
    EXPECT_THAT(text, HasSubstr("A special magic number is hidden within the following text. Make "
                                "sure to memorize it. I will quiz you about the number "
                                "afterwards.\n"));
    EXPECT_THAT(text, HasSubstr("\nWhat is the special magic number for " + turn.key +
                                " mentioned in the provided text?"));
    const std::string begun =
        "The special magic number for " + turn.key + " mentioned in the provided text is";
    EXPECT_TRUE(text.ends_with(begun)) << text;
    EXPECT_EQ(turn.number.size(), 5u);
    keys.insert(turn.key);
  }
  EXPECT_EQ(keys, (std::set<std::string>{"London", "Paris", "Berlin", "Cairo"}));
}

TEST(NeedleText, the_same_seed_gives_the_same_prompts_and_another_one_others) {
  const auto engine = tiny_engine();
  const std::string filler = prose();
  const auto tokens = [&](uint64_t seed, uint32_t number) {
    const auto prompt =
        make_needle_prompt(engine->model(), {.context = 300, .seed = seed}, filler, number);
    EXPECT_TRUE(prompt.ok());
    return prompt->turns[0].tokens;
  };
  EXPECT_EQ(tokens(1, 3), tokens(1, 3));
  EXPECT_NE(tokens(1, 3), tokens(2, 3));
  EXPECT_NE(tokens(1, 3), tokens(1, 4));
}

TEST(NeedleText, depths_say_where_needles_lie) {
  const auto engine = tiny_engine();
  const std::string filler = prose();
  uint32_t before = 0;
  for (const double depth : {0.0, 30.0, 60.0, 100.0}) {
    const NeedleSettings settings{.context = 500, .depths = {depth}};
    const auto prompt = make_needle_prompt(engine->model(), settings, filler, 0);
    ASSERT_TRUE(prompt.ok());
    const uint32_t position = prompt->turns[0].position;
    EXPECT_GT(position, before);
    before = position;
    const std::vector<uint32_t>& tokens = prompt->turns[0].tokens;
    const std::vector<uint32_t> rest(tokens.begin() + position, tokens.end());
    EXPECT_THAT(decoded(*engine, rest).substr(0, 20), HasSubstr("One of the"));
  }
}

TEST(NeedleText, drawn_depths_cover_the_text_evenly) {
  const auto engine = tiny_engine();
  const std::string filler = prose();
  std::array<int, 4> quarters{};
  for (uint32_t number = 0; number < 24; ++number) {
    const auto prompt = make_needle_prompt(engine->model(), {.context = 250}, filler, number);
    ASSERT_TRUE(prompt.ok());
    ++quarters[static_cast<size_t>(prompt->turns[0].depth * 4)];
  }
  for (const int quarter : quarters) EXPECT_NEAR(quarter, 6, 1);
}

TEST(NeedleText, turns_continue_the_conversation_with_the_right_answers) {
  const auto engine = tiny_engine();
  const auto prompt = make_needle_prompt(engine->model(), {.context = 500, .turns = 3}, prose(), 5);
  ASSERT_TRUE(prompt.ok()) << prompt.error().message;
  ASSERT_EQ(prompt->turns.size(), 3u);
  std::vector<uint32_t> all;
  for (const NeedleTurn& turn : prompt->turns) {
    all.insert(all.end(), turn.tokens.begin(), turn.tokens.end());
  }
  EXPECT_EQ(all.size(), prompt->tokens());
  const std::string text = decoded(*engine, all);
  for (size_t i = 0; i < 3; ++i) {
    const NeedleTurn& turn = prompt->turns[i];
    const std::string answer = "The special magic number for " + turn.key +
                               " mentioned in the provided text is " + turn.number + ".";
    EXPECT_EQ(count_of(text, answer), i < 2 ? 1u : 0u);
    EXPECT_EQ(count_of(text, turn.number), i < 2 ? 2u : 1u);
    EXPECT_EQ(decoded(*engine, turn.tokens).find(turn.number) != std::string::npos,
              i == 0 ? true : false)
        << "turn " << i << " brings the answer of the one before, not its own";
  }
}

TEST(NeedleText, what_cannot_be_a_prompt_is_refused) {
  const auto engine = tiny_engine();
  const auto message = [&](const NeedleSettings& settings, const std::string& filler) {
    const auto prompt = make_needle_prompt(engine->model(), settings, filler, 0);
    EXPECT_FALSE(prompt.ok());
    return prompt.ok() ? "" : prompt.error().message;
  };
  EXPECT_THAT(message({.context = 500}, "too short"), HasSubstr("running text"));
  EXPECT_THAT(message({.context = 40}, prose()), HasSubstr("the question alone"));
  EXPECT_THAT(message({.context = 500}, std::string(4000, ' ')), HasSubstr("tokens"));
  EXPECT_THAT(message({.context = 500, .turns = 5}, prose()), HasSubstr("1 to 4"));
}

ComparedPlans compared(std::shared_ptr<Engine> engine, const std::string& baseline,
                       const std::vector<std::string>& plans) {
  auto result = ComparedPlans::create(std::move(engine), baseline, plans);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return std::move(*result);
}

std::vector<NeedleSummary> run_all(const ComparedPlans& plans, const NeedleRun& run,
                                   const std::string& filler, CellFile& cells) {
  auto summaries = run_needles(plans, run, filler, cells);
  EXPECT_TRUE(summaries.ok()) << summaries.error().message;
  return summaries ? std::move(*summaries) : std::vector<NeedleSummary>{};
}

Json answers(const ComparedPlans& plans, const NeedleRun& run, size_t plan) {
  Json all = Json::array();
  const TempFolder folder;
  const std::string path = (folder.path() / "cells.jsonl").string();
  CellFile file = *CellFile::open(path, false);
  run_all(plans, run, prose(), file);
  std::istringstream lines(*read_file(path));
  for (std::string line; std::getline(lines, line);) {
    const Json cell = *parse_json(line, path);
    if (cell["plan"] == plans.all()[plan].text) all.push_back(cell["asked"]);
  }
  return all;
}

TEST(Needle, plans_that_share_a_reading_answer_as_when_they_read_alone) {
  const NeedleRun run{.settings = {.context = 300, .turns = 2}, .prompts = 2};
  const std::string a = "snapkv:0.3 observe=16 settle=prompt";
  const std::string b = "int4 keydiff:0.3 settle=prompt";
  std::shared_ptr<Engine> engine = tiny_engine({.kv_memory = size_t{64} << 20});
  const Json together = answers(compared(engine, "full", {a, b}), run, 2);
  const Json alone = answers(compared(engine, "full", {b}), run, 1);
  ASSERT_EQ(alone.size(), 2u);
  EXPECT_EQ(together, alone);
}

TEST(Needle, bytes_and_rows_are_those_of_the_cache_after_the_first_prompt) {
  const NeedleRun run{.settings = {.context = 600}, .prompts = 2};
  const auto plans =
      compared(tiny_engine(), "full",
               {"snapkv:0.25 observe=16 settle=128", "int8", "snapkv:0.25 settle=prompt"});
  CellFile cells = *CellFile::open("", false);
  const auto summaries = run_all(plans, run, prose(), cells);
  ASSERT_EQ(summaries.size(), 4u);
  EXPECT_DOUBLE_EQ(summaries[0].rows_share, 1);
  EXPECT_DOUBLE_EQ(summaries[0].difference.mean, 0);
  EXPECT_DOUBLE_EQ(summaries[0].row_bytes, summaries[0].full_bytes);
  EXPECT_DOUBLE_EQ(summaries[2].rows_share, 1);
  EXPECT_LT(summaries[2].kv_bytes, 0.8 * summaries[0].kv_bytes);
  for (const size_t i : {size_t{1}, size_t{3}}) {
    EXPECT_DOUBLE_EQ(summaries[i].nominal, 0.25);
    EXPECT_LT(summaries[i].rows_share, 0.5);
    EXPECT_GE(summaries[i].rows_share, 0.24);
    EXPECT_LT(summaries[i].kv_bytes, 0.6 * summaries[0].kv_bytes);
  }
  EXPECT_NEAR(summaries[3].rows_share, 0.25, 0.01);  // nothing came after it settled
}

TEST(Needle, a_run_that_goes_on_measures_only_what_is_missing) {
  const TempFolder folder;
  const std::string path = (folder.path() / "cells.jsonl").string();
  const auto plans = compared(tiny_engine(), "full", {"int8"});
  NeedleRun run{.settings = {.context = 200}, .prompts = 2};
  const auto lines = [&] { return count_of(*read_file(path), "\n"); };
  {
    CellFile cells = *CellFile::open(path, false);
    run_all(plans, run, prose(), cells);
    EXPECT_EQ(lines(), 4u);
  }
  CellFile cells = *CellFile::open(path, true);
  const std::string before = *read_file(path);
  const auto again = run_all(plans, run, prose(), cells);
  EXPECT_EQ(*read_file(path), before);
  EXPECT_EQ(again[1].right.count, 2u);
  run.prompts = 3;
  run_all(plans, run, prose(), cells);
  EXPECT_EQ(lines(), 6u);
  run.settings.seed = 2;  // other prompts: nothing of it was measured
  run_all(plans, run, prose(), cells);
  EXPECT_EQ(lines(), 12u);
}

TEST(Needle, a_changed_file_of_results_is_refused) {
  const TempFolder folder;
  const std::string path = (folder.path() / "cells.jsonl").string();
  const auto plans = compared(tiny_engine(), "full", {});
  const NeedleRun run{.settings = {.context = 200}, .prompts = 1};
  {
    CellFile cells = *CellFile::open(path, false);
    run_all(plans, run, prose(), cells);
  }
  const Json whole = *parse_json(*read_file(path), path);
  for (const char* key : {"right", "kv_bytes", "asked", "rows_share"}) {
    Json changed = whole;
    changed[key] = "nonsense";
    folder.write("cells.jsonl", dump_json(changed) + "\n");
    CellFile cells = *CellFile::open(path, true);
    EXPECT_FALSE(run_needles(plans, run, prose(), cells).ok()) << key;
  }
}

TEST(Needle, leading_digits_count_from_the_first_digit_of_the_answer) {
  EXPECT_EQ(leading_digits(" 43871.", "43871"), 5u);
  EXPECT_EQ(leading_digits(" \"4387 or so", "43871"), 4u);
  EXPECT_EQ(leading_digits(" 4", "43871"), 1u);
  EXPECT_EQ(leading_digits(" 543871", "43871"), 0u);
  EXPECT_EQ(leading_digits("none", "43871"), 0u);
  EXPECT_EQ(leading_digits("", "43871"), 0u);
}

TEST(Needle, equal_plans_are_refused) {
  std::shared_ptr<Engine> engine = tiny_engine();
  const auto same = ComparedPlans::create(engine, "full", std::vector<std::string>{"int8", "int8"});
  ASSERT_FALSE(same.ok());
  EXPECT_THAT(same.error().message, HasSubstr("the same"));
  EXPECT_FALSE(ComparedPlans::create(engine, "full", std::vector<std::string>{"int9"}).ok());
}

TEST(Needle, the_default_model_finds_the_number_with_the_full_cache) {
  SKVIS_NEED_DEFAULT_MODEL();
  std::shared_ptr<Engine> engine = make_engine("smollm2");
  const auto ids = read_ids(source_path("tests/data/smollm2/prose_ids.json"));
  const std::string novel = decoded(*engine, ids);
  const auto plans = compared(engine, "full", {});
  CellFile cells = *CellFile::open("", false);
  const NeedleRun run{.settings = {.context = 500}, .prompts = 4};
  const auto summaries = run_all(plans, run, novel + "\n\n" + novel, cells);
  EXPECT_DOUBLE_EQ(summaries[0].right.mean, 1);
}

}  // namespace
}  // namespace skvis::testing
