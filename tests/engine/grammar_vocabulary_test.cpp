// SPDX-License-Identifier: Apache-2.0
// Masks over real tokenizers.
#include "engine/grammar_vocabulary.hpp"

#include <gtest/gtest.h>

#include <random>

#include "files.hpp"
#include "grammar/json_schema.hpp"
#include "grammar/matcher.hpp"
#include "text/load_tokenizer.hpp"

namespace skvis {
namespace {

const char* const kSchema = R"({"type":"object","properties":{
  "name":{"type":"string"},"short":{"type":"string","maxLength":12},
  "n":{"type":"integer","minimum":-20,"maximum":1300},"day":{"type":"string","format":"date"},
  "tree":{"$ref":"#/$defs/tree"},"any":{}},"required":["name","n"],
  "$defs":{"tree":{"type":"array","items":{"$ref":"#/$defs/tree"}}}})";

// Walks over the tokens of a document; at each, the mask must hold the document's own token and
// agree with trial on random others.
void walk(const Tokenizer& tokenizer, const std::shared_ptr<TokenAutomaton>& automaton,
          std::string_view document) {
  const auto tokens = tokenizer.encode(document);
  ASSERT_TRUE(tokens.ok());
  std::mt19937 random(1);
  GrammarMatcher matcher(automaton);
  TokenMask mask(automaton->vocabulary().size());
  for (const uint32_t token : *tokens) {
    ASSERT_TRUE(matcher.fill_mask(mask).ok());
    ASSERT_TRUE(mask.allows(token)) << document << ": token " << token;
    for (int i = 0; i < 400; ++i) {
      const auto other = static_cast<uint32_t>(random() % mask.size());
      GrammarMatcher copy = matcher;
      ASSERT_EQ(copy.accept(other).ok(), mask.allows(other)) << document << ": token " << other;
    }
    ASSERT_TRUE(matcher.accept(token).ok());
  }
  EXPECT_TRUE(matcher.can_end());
}

TEST(GrammarVocabulary, masks_of_real_tokenizers_are_exact) {
  for (const char* name : {"qwen2.5", "gpt2"}) {
    const auto tokenizer = load_tokenizer(source_path("tests/data/tokenizers") / name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    const auto vocabulary = grammar_vocabulary(*tokenizer, tokenizer->end_ids());
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.error().message;
    const auto schema = parse_json(kSchema, "schema");
    auto grammar = compile_json_schema(*schema);
    ASSERT_TRUE(grammar.ok()) << grammar.error().message;
    const auto automaton = std::make_shared<TokenAutomaton>(std::move(*grammar), *vocabulary);
    walk(*tokenizer, automaton, R"({"name": "Zoë \"Q\" 李", "n": -20})");
    walk(*tokenizer, automaton,
         "{\n  \"name\": \"\", \"short\": \"twelve chars\",\n  \"n\": 1300,\n  \"day\": "
         "\"2024-02-28\", \"tree\": [[], [[]]], \"any\": {\"x\": [1.5e3, \"\\u00e9\", null]}}");
  }
}

TEST(GrammarVocabulary, special_tokens_are_never_part_of_a_text) {
  const auto tokenizer = load_tokenizer(source_path("tests/data/tokenizers/qwen2.5"));
  ASSERT_TRUE(tokenizer.ok());
  const size_t logits = tokenizer->vocabulary_size() + 100;
  const auto vocabulary = grammar_vocabulary(*tokenizer, tokenizer->end_ids(), logits);
  ASSERT_TRUE(vocabulary.ok());
  ASSERT_EQ((*vocabulary)->size(), logits);
  const auto schema = parse_json(R"({"type":"string"})", "schema");
  const auto automaton =
      std::make_shared<TokenAutomaton>(*compile_json_schema(*schema), *vocabulary);
  GrammarMatcher matcher(automaton);
  ASSERT_TRUE(matcher.accept_bytes("\"a").ok());
  TokenMask mask(logits);
  EXPECT_GT(*matcher.fill_mask(mask), logits / 2);
  size_t specials = 0;
  for (uint32_t id = 0; id < logits; ++id) {
    if (!tokenizer->is_special(id) && id < tokenizer->vocabulary_size()) continue;
    ++specials;
    EXPECT_FALSE(mask.allows(id)) << id;
  }
  EXPECT_GT(specials, 100u);
  ASSERT_TRUE(matcher.accept_bytes("\"").ok());
  EXPECT_EQ(*matcher.fill_mask(mask), tokenizer->end_ids().size());
  for (const uint32_t id : tokenizer->end_ids()) EXPECT_TRUE(mask.allows(id));
}

}  // namespace
}  // namespace skvis
