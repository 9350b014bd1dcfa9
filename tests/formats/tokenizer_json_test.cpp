// SPDX-License-Identifier: Apache-2.0
#include "formats/tokenizer_json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.hpp"
#include "files.hpp"

namespace skvis {
namespace {

using testing::HasSubstr;
using Plain = nlohmann::json;  // its objects find keys fast, also among fifty thousand

Json small() {
  return Json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true, "normalized": false}],
    "normalizer": null, "pre_tokenizer": {"type": "ByteLevel"}, "decoder": {"type": "ByteLevel"},
    "post_processor": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

Result<TokenizerSpec> parse(const Json& document) {
  return parse_tokenizer_json(document.dump(), "t.json");
}

// The message with which `document` is refused.
std::string refusal(const Json& document) {
  const auto spec = parse(document);
  return spec ? "accepted" : spec.error().message;
}

TEST(TokenizerJson, reads_model_and_added_tokens) {
  const auto spec = parse(small());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->tokens, (std::vector<std::string>{"a", "b", "ab", "<s>"}));
  EXPECT_EQ(spec->mergeable, (std::vector<bool>{true, true, true, false}));
  ASSERT_EQ(spec->merges.size(), 1u);
  EXPECT_EQ(spec->merges[0].result, 2u);
  ASSERT_EQ(spec->added_tokens.size(), 1u);
  EXPECT_TRUE(spec->added_tokens[0].special);
}

TEST(TokenizerJson, old_layouts_mean_what_they_meant) {
  Json document = small();
  document["model"].erase("type");  // merges say that it is BPE
  const auto spec = parse(document);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  const auto& step = std::get<SpellBytes>(spec->pre_tokenizer.at(0));
  EXPECT_TRUE(step.use_regex);
  EXPECT_TRUE(step.add_prefix_space);
  document["pre_tokenizer"] = {{"type", "Metaspace"}, {"add_prefix_space", false}};
  const auto metaspace = parse(document);
  ASSERT_TRUE(metaspace.ok()) << metaspace.error().message;
  EXPECT_EQ(std::get<MarkSpaces>(metaspace->pre_tokenizer.at(0)).prepend, PrependScheme::kNever);
}

TEST(TokenizerJson, merges_as_pairs_equal_merges_as_strings) {
  const auto path = std::filesystem::path(SKVIS_SOURCE_DIR) / "tests/data/tokenizers/gpt2";
  const auto text = read_file(path / "tokenizer.json");
  ASSERT_TRUE(text.ok());
  Plain document = Plain::parse(*text);
  for (Plain& merge : document["model"]["merges"]) {
    const auto whole = merge.get<std::string>();
    const size_t space = whole.find(' ');
    merge = Plain::array({whole.substr(0, space), whole.substr(space + 1)});
  }
  const auto strings = parse_tokenizer_json(*text, "strings");
  const auto pairs = parse_tokenizer_json(document.dump(), "pairs");
  ASSERT_TRUE(strings.ok() && pairs.ok());
  ASSERT_EQ(strings->merges.size(), 50000u);
  ASSERT_EQ(pairs->merges.size(), 50000u);
  for (size_t i = 0; i < pairs->merges.size(); ++i) {
    EXPECT_EQ(strings->merges[i].left, pairs->merges[i].left);
    EXPECT_EQ(strings->merges[i].right, pairs->merges[i].right);
    EXPECT_EQ(strings->merges[i].result, pairs->merges[i].result);
  }
  EXPECT_EQ(strings->tokens, pairs->tokens);
}

TEST(TokenizerJson, templates_give_prefix_and_suffix_also_inside_a_sequence) {
  Json document = small();
  const Json single = Json::parse(R"([{"SpecialToken": {"id": "<s>", "type_id": 0}}, )"
                                  R"({"Sequence": {"id": "A", "type_id": 0}}])");
  const Json ids = Json::parse(R"({"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}})");
  const Json step = {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", ids}};
  document["post_processor"] = {{"type", "Sequence"},
                                {"processors", Json::array({{{"type", "ByteLevel"}}, step})}};
  const auto spec = parse(document);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->prefix, std::vector<uint32_t>{3});
  EXPECT_TRUE(spec->suffix.empty());
  document["post_processor"] = step;
  document["post_processor"]["special_tokens"]["<s>"]["ids"] = {4};
  EXPECT_THAT(refusal(document), HasSubstr("4 is no token id, expected less than 4"));
}

TEST(TokenizerJson, merges_that_do_not_exist_are_refused) {
  Json document = small();
  document["model"]["merges"] = {"a c"};
  EXPECT_THAT(refusal(document), HasSubstr("model.merges[0] ('a' and 'c') needs the token 'c'"));
  document["model"]["merges"] = {"a b", "b a"};
  EXPECT_THAT(refusal(document), HasSubstr("model.merges[1] ('b' and 'a') needs the token 'ba'"));
  for (const Json& bad : {Json("ab"), Json("a b c"), Json(7), Json::array({"a"}),
                          Json::array({"a", "b", "c"}), Json::array({"a", 1}), Json::object()}) {
    document["model"]["merges"] = Json::array({bad});
    EXPECT_THAT(refusal(document), HasSubstr("model.merges[0]")) << bad;
  }
}

TEST(TokenizerJson, ids_that_repeat_or_leave_the_range_are_refused) {
  Json document = small();
  document["model"]["vocab"]["b"] = 0;
  EXPECT_THAT(refusal(document), HasSubstr("gives id 0 to both 'a' and 'b'"));
  for (const Json& bad : {Json(-1), Json(1 << 20), Json(1.5), Json("1"), Json::array({1})}) {
    document["model"]["vocab"]["b"] = bad;
    EXPECT_THAT(refusal(document), HasSubstr("'b' has")) << bad;
  }
  EXPECT_THAT(parse_tokenizer_json(R"({"model":{"vocab":{"a":0,"a":1},"merges":[]}})", "t.json")
                  .error()
                  .message,
              HasSubstr("gives 'a' the ids 0 and 1"));
  document = small();
  document["added_tokens"][0]["id"] = 1;
  EXPECT_THAT(refusal(document), HasSubstr("'<s>' has id 1, which is already 'b'"));
  document["added_tokens"][0]["id"] = 1 << 20;
  EXPECT_THAT(refusal(document), HasSubstr("'id' must be between 0 and 1048575"));
  document["added_tokens"][0] = {{"id", 9}, {"content", "a"}};
  EXPECT_THAT(refusal(document), HasSubstr("'a' has id 9, but elsewhere it has 0"));
}

TEST(TokenizerJson, unknown_models_and_steps_are_refused_by_name) {
  Json document = small();
  document["model"]["type"] = "WordPiece";
  EXPECT_THAT(refusal(document), HasSubstr("'WordPiece', only BPE"));
  document["model"]["vocab"] = Json::array();
  EXPECT_THAT(refusal(document), HasSubstr("Unigram"));
  for (const char* part : {"normalizer", "pre_tokenizer", "decoder", "post_processor"}) {
    document = small();
    document[part] = {{"type", "Magic"}};
    EXPECT_THAT(refusal(document), HasSubstr("'Magic' is not supported")) << part;
    document[part] = 7;
    EXPECT_THAT(refusal(document), Not(HasSubstr("accepted"))) << part;
  }
  document = small();
  document["model"]["end_of_word_suffix"] = "</w>";
  EXPECT_THAT(refusal(document), HasSubstr("end_of_word_suffix"));
  document = small();
  document["model"]["unk_token"] = "<unk>";
  EXPECT_THAT(refusal(document), HasSubstr("'unk_token' is '<unk>'"));
}

TEST(TokenizerJson, missing_parts_and_broken_json_are_refused) {
  EXPECT_THAT(refusal(Json::array()), HasSubstr("'model' must be an object"));
  Json document = small();
  document["model"].erase("vocab");
  EXPECT_THAT(refusal(document), HasSubstr("'model.vocab' is missing"));
  document = small();
  document["model"].erase("merges");
  EXPECT_THAT(refusal(document), HasSubstr("'model.merges' is missing"));
  const std::string text = small().dump();
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(parse_tokenizer_json(text.substr(0, length), "t.json").ok()) << length;
  }
  EXPECT_FALSE(parse_tokenizer_json(text + "x", "t.json").ok());
}

TEST(TokenizerJson, floods_are_refused_before_they_take_memory) {
  std::string deep(100'000, '[');
  EXPECT_THAT(parse_tokenizer_json(deep, "t.json").error().message, HasSubstr("nested deeper"));
  std::string wide = "{\"x\":[0";
  for (int i = 0; i < 600'000; ++i) wide += ",0";
  EXPECT_THAT(parse_tokenizer_json(wide + "]}", "t.json").error().message,
              HasSubstr("more than 500000 values"));
  std::string keys = "{";
  for (int i = 0; i < 5000; ++i) keys += fmt::format("\"{}\":0,", i);
  EXPECT_THAT(parse_tokenizer_json(keys + "\"x\":0}", "t.json").error().message,
              HasSubstr("more than 4096 members"));
}

TEST(TokenizerConfig, switches_add_and_take_away_bos_and_eos) {
  auto spec = parse(small());
  ASSERT_TRUE(spec.ok());
  Json config = {
      {"bos_token", {{"content", "<s>"}}}, {"eos_token", "<s>"}, {"add_bos_token", true}};
  ASSERT_TRUE(apply_tokenizer_config(config, "c.json", *spec).ok());
  EXPECT_EQ(spec->prefix, std::vector<uint32_t>{3});
  EXPECT_EQ(spec->eos, 3u);
  EXPECT_EQ(spec->end_ids, std::vector<uint32_t>{3});
  config["add_bos_token"] = false;
  config["add_eos_token"] = true;
  ASSERT_TRUE(apply_tokenizer_config(config, "c.json", *spec).ok());
  EXPECT_TRUE(spec->prefix.empty());
  EXPECT_EQ(spec->suffix, std::vector<uint32_t>{3});
}

TEST(TokenizerConfig, tokens_that_only_the_configuration_knows_are_added) {
  auto spec = parse(small());
  ASSERT_TRUE(spec.ok());
  Json config;
  config["added_tokens_decoder"]["4"] = {{"content", "<t>"}, {"special", true}};
  ASSERT_TRUE(apply_tokenizer_config(config, "c.json", *spec).ok());
  EXPECT_EQ(spec->tokens.at(4), "<t>");
  EXPECT_EQ(spec->added_tokens.size(), 2u);
  for (const char* key : {"1", "x", "99999999"}) {
    config["added_tokens_decoder"] = Json::object({{key, {{"content", "<u>"}}}});
    const auto applied = apply_tokenizer_config(config, "c.json", *spec);
    ASSERT_FALSE(applied.ok()) << key;
    EXPECT_THAT(applied.error().message, HasSubstr(fmt::format("added_tokens_decoder['{}']", key)));
  }
}

TEST(TokenizerConfig, wrong_types_are_refused_with_the_key) {
  auto spec = parse(small());
  ASSERT_TRUE(spec.ok());
  for (const char* key : {"bos_token", "eos_token", "added_tokens_decoder", "add_bos_token"}) {
    const auto applied = apply_tokenizer_config(Json::object({{key, 7}}), "c.json", *spec);
    ASSERT_FALSE(applied.ok()) << key;
    EXPECT_THAT(applied.error().message, HasSubstr(key));
  }
  EXPECT_FALSE(apply_tokenizer_config(Json::array(), "c.json", *spec).ok());
}

}  // namespace
}  // namespace skvis
