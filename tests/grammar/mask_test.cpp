// SPDX-License-Identifier: Apache-2.0
// Masks against their definition: bit for bit, by an independent recogniser and by trial.
#include <random>

#include "grammar/grammar_builder.hpp"
#include "grammar_testing.hpp"
#include "reference_grammar.hpp"

namespace skvis {
namespace {

TokenMask reference_mask(ReferenceRecogniser& reference, const TokenVocabulary& vocabulary,
                         const std::string& text) {
  TokenMask mask(vocabulary.size());
  for (uint32_t token = 0; token < vocabulary.size(); ++token) {
    const std::string bytes(vocabulary.bytes(token));
    if (!bytes.empty() && reference.read(text + bytes).begins) mask.allow(token);
  }
  if (!reference.read(text).matches) return mask;
  for (const uint32_t token : vocabulary.end_tokens()) mask.allow(token);
  return mask;
}

// Walks along allowed tokens and compares each mask; the number of masks.
size_t compare_walk(const std::shared_ptr<TokenAutomaton>& automaton,
                    ReferenceRecogniser& reference, RandomGrammar& random) {
  const TokenVocabulary& vocabulary = automaton->vocabulary();
  GrammarMatcher matcher(automaton);
  TokenMask mask(vocabulary.size());
  std::string text;
  for (size_t steps = 0; steps < 8; ++steps) {
    const auto count = matcher.fill_mask(mask);
    EXPECT_TRUE(count.ok());
    EXPECT_EQ(*count, mask.count());
    EXPECT_EQ(mask, reference_mask(reference, vocabulary, text)) << "behind '" << text << "'";
    EXPECT_EQ(matcher.can_end(), reference.read(text).matches) << "behind '" << text << "'";
    std::vector<uint32_t> allowed;
    for (uint32_t token = 0; token < vocabulary.size(); ++token) {
      if (mask.allows(token) && !vocabulary.is_end_token(token)) allowed.push_back(token);
    }
    if (allowed.empty() || ::testing::Test::HasFailure()) return steps + 1;
    const uint32_t token =
        allowed[static_cast<size_t>(random.pick(static_cast<int>(allowed.size())))];
    EXPECT_TRUE(matcher.accept(token).ok());
    text += vocabulary.bytes(token);
  }
  return 8;
}

TEST(Mask, equals_the_reference_on_random_grammars) {
  size_t compared = 0, refused = 0, empty = 0;
  for (uint64_t seed = 0; seed < 1500 && !HasFailure(); ++seed) {
    RandomGrammar random(seed);
    const TreeGrammar tree = random.draw();
    const std::string text = gbnf_text(tree);
    SCOPED_TRACE(text);
    auto grammar = parse_gbnf(text);
    if (!grammar && grammar.error().message.find("left-recursive") != std::string::npos) {
      ++refused;
      continue;
    }
    ReferenceRecogniser reference(tree);
    ASSERT_EQ(grammar.ok(), reference.any());
    if (!grammar) {
      ++empty;
      continue;
    }
    std::vector<std::string> tokens(3);  // control tokens, two of them ends
    for (int i = 0; i < 50; ++i) tokens.push_back(random.token());
    const auto automaton =
        std::make_shared<TokenAutomaton>(std::move(*grammar), vocabulary_of(tokens, {0, 2}));
    for (int walk = 0; walk < 3; ++walk) compared += compare_walk(automaton, reference, random);
  }
  EXPECT_GT(compared, 4000u);
  EXPECT_GT(refused, 20u);
  EXPECT_GT(empty, 5u);
}

TEST(Mask, long_repetitions_share_masks_and_stay_exact) {
  const auto automaton = std::make_shared<TokenAutomaton>(
      *parse_gbnf("root ::= \"<\" [ab]{7,30} \">\" \"!\"?"),
      vocabulary_of({"", "a", "b", "<", ">", "ab", "aaaa", "b>", "bb>!", ">!", "<a", "aaaaaa"},
                    {0}));
  GrammarMatcher matcher(automaton);
  ASSERT_TRUE(matcher.accept(3).ok());
  TokenMask mask(12);
  for (int i = 0; i <= 30; ++i) {
    ASSERT_TRUE(matcher.fill_mask(mask).ok());
    EXPECT_EQ(mask, mask_by_trial(matcher)) << i;
    EXPECT_EQ(mask.allows(4), i >= 7) << i;
    EXPECT_EQ(mask.allows(11), i <= 24) << i;
    if (i < 30) {
      ASSERT_TRUE(matcher.accept(1).ok());
    }
  }
}

TEST(Mask, end_tokens_are_allowed_exactly_where_the_text_may_end) {
  const auto automaton = std::make_shared<TokenAutomaton>(
      *parse_gbnf("root ::= \"a\" \"b\"?"), vocabulary_of({"a", "b", "a", "", "a"}, {2, 3}));
  GrammarMatcher matcher(automaton);
  TokenMask mask(5);
  EXPECT_EQ(*matcher.fill_mask(mask), 2u);  // both spellings of 'a'; token 2 ends texts
  EXPECT_TRUE(mask.allows(0) && mask.allows(4));
  EXPECT_FALSE(matcher.accept(2).ok());
  ASSERT_TRUE(matcher.accept(4).ok());
  EXPECT_EQ(*matcher.fill_mask(mask), 3u);
  EXPECT_TRUE(mask.allows(1) && mask.allows(2) && mask.allows(3));
  EXPECT_TRUE(matcher.accept(3).ok());
  ASSERT_TRUE(matcher.accept(1).ok());
  EXPECT_EQ(*matcher.fill_mask(mask), 2u);
}

TEST(Matcher, refused_tokens_change_nothing_and_say_what_fits) {
  const auto automaton = std::make_shared<TokenAutomaton>(*parse_gbnf("root ::= \"ab\" [0-9]"),
                                                          vocabulary_of({"ax", "ab", "", "7"}, {}));
  GrammarMatcher matcher(automaton);
  const auto wrong = matcher.accept(0);
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("byte 1"), std::string::npos) << wrong.error().message;
  EXPECT_NE(wrong.error().message.find("'b'"), std::string::npos) << wrong.error().message;
  EXPECT_FALSE(matcher.accept(2).ok());
  EXPECT_FALSE(matcher.accept(4).ok());
  EXPECT_TRUE(matcher.accept(1).ok());
  EXPECT_TRUE(matcher.accept(3).ok());
  EXPECT_TRUE(matcher.can_end());
}

TEST(Matcher, copies_go_their_own_ways) {
  const auto automaton = byte_automaton(*parse_gbnf("root ::= \"a\" root \"b\" | \"c\""));
  GrammarMatcher first(automaton);
  ASSERT_TRUE(first.accept_bytes("aa").ok());
  GrammarMatcher second = first;
  ASSERT_TRUE(second.accept_bytes("cbb").ok());
  EXPECT_TRUE(second.can_end());
  ASSERT_TRUE(first.accept_bytes("acbb").ok());
  EXPECT_FALSE(first.can_end());
  second = first;
  EXPECT_TRUE(second.accept_bytes("b").ok());
  EXPECT_TRUE(second.can_end());
  const GrammarMatcher moved = std::move(second);
  EXPECT_TRUE(moved.can_end());
}

TEST(Matcher, deep_nesting_needs_no_recursion) {
  const auto automaton = byte_automaton(*compile_schema_text("{}"));
  GrammarMatcher matcher(automaton);
  constexpr size_t kDepth = 200000;
  ASSERT_TRUE(matcher.accept_bytes(std::string(kDepth, '[')).ok());
  const auto end = matcher.shortest_end(2 * kDepth);
  ASSERT_TRUE(end.ok()) << end.error().message;
  EXPECT_EQ(*end, std::string(kDepth, ']'));
  ASSERT_TRUE(matcher.accept_bytes(*end).ok());
  EXPECT_TRUE(matcher.can_end());
}

TEST(Matcher, what_no_text_needs_any_more_is_dropped) {
  const auto automaton = byte_automaton(*compile_schema_text("{}"));
  GrammarMatcher kept(automaton);
  ASSERT_TRUE(kept.accept_bytes("[[{\"a\": [").ok());
  std::mt19937 random(1);
  for (int i = 0; i < 60; ++i) {
    GrammarMatcher matcher(automaton);
    std::string text;  // nesting that never comes twice
    for (int j = 0; j < 5000; ++j) text += random() % 2 == 0 ? "[" : "{\"a\":";
    ASSERT_TRUE(matcher.accept_bytes(text).ok());
  }
  EXPECT_LT(automaton->bytes(), 2 * TokenAutomaton::kSoftBytes);
  EXPECT_EQ(*kept.shortest_end(100), "]}]]");
  ASSERT_TRUE(kept.accept_bytes("1]}]]").ok());
  EXPECT_TRUE(kept.can_end());
}

TEST(Matcher, ambiguous_grammars_stay_polynomial) {
  // 2^n ways to read n letters, by alternatives, by repetitions, and by rules.
  for (const char* text : {"root ::= (\"a\" | \"a\" | [ab])*", "root ::= ((\"a\"*)*)*",
                           "root ::= \"a\" root \"x\"? | \"a\" root \"y\"? | \"a\"",
                           "root ::= s s s\ns ::= \"a\" s s | \"a\" s | \"\""}) {
    const auto automaton = byte_automaton(*parse_gbnf(text));
    GrammarMatcher matcher(automaton);
    EXPECT_TRUE(matcher.accept_bytes(std::string(300, 'a')).ok()) << text;
    EXPECT_TRUE(matcher.can_end()) << text;
  }
}

TEST(Matcher, too_much_ambiguity_is_an_error_and_not_a_stall) {
  // Each letter may close any number of what was opened: items grow with the text.
  const auto automaton =
      byte_automaton(*parse_gbnf("root ::= \"a\" root \"a\" | \"a\" root root | \"a\""));
  GrammarMatcher matcher(automaton);
  const auto result = matcher.accept_bytes(std::string(20000, 'a'));
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("too ambiguous"), std::string::npos);
  EXPECT_LT(automaton->bytes(), 2 * Configurations::kHardBytes);
  // The place is still the beginning.
  EXPECT_TRUE(matcher.accept_bytes("aaa").ok());
}

TEST(Matcher, right_recursion_needs_no_stack) {
  const auto automaton = byte_automaton(*parse_gbnf("root ::= [a-z] \",\" root | [a-z]"));
  GrammarMatcher matcher(automaton);
  std::string text;
  for (int i = 0; i < 50000; ++i) text += "q,";
  ASSERT_TRUE(matcher.accept_bytes(text).ok());
  EXPECT_LT(automaton->bytes(), size_t{1} << 20);
  EXPECT_EQ(*matcher.shortest_end(10), "a");
}

TEST(Vocabulary, wrong_lists_are_refused) {
  EXPECT_FALSE(TokenVocabulary::create({"a"}, {1}).ok());
  EXPECT_FALSE(TokenVocabulary::create({std::string(5000, 'a')}, {}).ok());
  EXPECT_TRUE(TokenVocabulary::create({}, {}).ok());
}

TEST(RandomText, fits_its_grammar_and_repeats_with_its_seed) {
  const Recogniser recogniser = gbnf("root ::= (\"(\" root \")\" | [a-c] | \"\\u00e9\"){1,3}");
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto text = random_text(recogniser.automaton(), seed, 30);
    ASSERT_TRUE(text.ok()) << text.error().message;
    EXPECT_TRUE(recogniser.matches(*text)) << *text;
    EXPECT_EQ(*text, *random_text(recogniser.automaton(), seed, 30));
  }
}

}  // namespace
}  // namespace skvis
