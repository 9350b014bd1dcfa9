// SPDX-License-Identifier: Apache-2.0
#include "grammar_testing.hpp"

namespace skvis {
namespace {

TEST(Gbnf, literals_and_escapes) {
  const Recogniser one = gbnf(R"(root ::= "a\n\t\r\\\"\x41\u00e9\U0001F600")");
  EXPECT_TRUE(one.matches("a\n\t\r\\\"A\xc3\xa9\xf0\x9f\x98\x80"));
  EXPECT_TRUE(one.begins("a\n\t\r\\\"A\xc3"));
  EXPECT_FALSE(one.begins("a\n\t\r\\\"A\xe9"));
  // \xHH is a character, not a byte.
  EXPECT_TRUE(gbnf(R"(root ::= "\xff")").matches("\xc3\xbf"));
}

TEST(Gbnf, classes) {
  const Recogniser word = gbnf(R"(root ::= [a-z0-9\x41\u00e9_-]+)");
  EXPECT_TRUE(word.matches("z0A\xc3\xa9_-"));
  EXPECT_FALSE(word.begins("B"));
  const Recogniser other = gbnf("root ::= [^a-c\\n]");
  EXPECT_FALSE(other.begins("b"));
  EXPECT_FALSE(other.begins("\n"));
  EXPECT_TRUE(other.matches("d"));
  EXPECT_TRUE(other.matches("\xf0\x9f\x98\x80"));
  EXPECT_TRUE(gbnf(R"(root ::= [\]\[^-])").matches("^"));
  EXPECT_TRUE(gbnf(R"(root ::= [\]\[-]+)").matches("[]-"));
}

TEST(Gbnf, any_character_is_valid_utf8_only) {
  const Recogniser any = gbnf("root ::= .");
  EXPECT_TRUE(any.matches("\n"));
  EXPECT_TRUE(any.matches("\xed\x9f\xbf"));      // U+D7FF
  EXPECT_TRUE(any.matches("\xf4\x8f\xbf\xbf"));  // U+10FFFF
  for (const char* wrong : {"\x80", "\xc0", "\xc1", "\xe0\x9f", "\xed\xa0", "\xf0\x8f", "\xf4\x90",
                            "\xf5", "\xff", "\xc3\x41"}) {
    EXPECT_FALSE(any.begins(wrong)) << static_cast<int>(static_cast<uint8_t>(wrong[0]));
  }
}

TEST(Gbnf, every_character_of_a_range_and_no_other) {
  const Recogniser range = gbnf(R"(root ::= [\u00b5-\u0901\U0000FFF0-\U00010010])");
  for (uint32_t c = 1; c < 0x10100; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string text;
    append_code_point(c, text);
    const bool inside = (c >= 0xb5 && c <= 0x901) || (c >= 0xfff0 && c <= 0x10010);
    ASSERT_EQ(range.matches(text), inside) << c;
  }
}

TEST(Gbnf, repetitions) {
  EXPECT_TRUE(gbnf("root ::= \"ab\"{2}").matches("abab"));
  EXPECT_FALSE(gbnf("root ::= \"ab\"{2}").begins("ababa"));
  EXPECT_TRUE(gbnf("root ::= \"a\"{2,}").matches("aaaaa"));
  EXPECT_FALSE(gbnf("root ::= \"a\"{2,}").matches("a"));
  EXPECT_TRUE(gbnf("root ::= (\"a\" \"b\"){1,3} \"c\"?").matches("ababc"));
  EXPECT_FALSE(gbnf("root ::= \"a\"{1,3}").begins("aaaa"));
  EXPECT_TRUE(gbnf("root ::= \"a\"{0,0} \"b\"").matches("b"));
  EXPECT_TRUE(gbnf("root ::= (\"a\"?){3,5}").matches(""));
  EXPECT_FALSE(gbnf("root ::= (\"a\"?){3,5}").begins("aaaaaa"));
}

TEST(Gbnf, lines_comments_and_recursion) {
  const Recogniser grammar = gbnf(R"g(# arithmetic
root  ::= (
    sum     # the whole
  | "(" root ")"
) "\n"
sum ::= term ("+" term)*
     | "-" sum
term ::= [0-9]+ |
  "(" sum ")"

unused ::= "x")g");
  EXPECT_TRUE(grammar.matches("1+(2+33)\n"));
  EXPECT_TRUE(grammar.matches("(-1\n)\n"));
  EXPECT_FALSE(grammar.matches("1+\n"));
}

TEST(Gbnf, empty_rules_and_unproductive_ones) {
  EXPECT_TRUE(gbnf("root ::= e \"a\" e\ne ::= \"\" |").matches("a"));
  EXPECT_TRUE(gbnf("root ::= \"\"").matches(""));
  // `loop` never ends: what needs it is no way to go on.
  const Recogniser grammar = gbnf("root ::= \"a\" loop | \"b\"\nloop ::= \"x\" loop");
  EXPECT_FALSE(grammar.begins("a"));
  EXPECT_TRUE(grammar.matches("b"));
  EXPECT_NE(refusal(parse_gbnf("root ::= \"x\" root")).find("no text"), std::string::npos);
}

struct Wrong {
  const char* text;
  const char* expected;
};

TEST(Gbnf, errors_name_the_place_and_the_rule) {
  const Wrong cases[] = {
      {"root ::= a", "line 1, column 10: rule 'a' is undefined"},
      {"root ::= \"x\"\n  b ::= c\nc ::= [", "line 3, column 7"},
      {"x ::= \"a\"", "no rule 'root'"},
      {"", "no rule 'root'"},
      {"root ::= \"a", "line 1, column 10: the string has no closing"},
      {"root ::= [a", "no closing ']'"},
      {"root ::= [z-a]", "runs backwards"},
      {"root ::= []", "empty"},
      {"root ::= (\"a\"", "expected ')'"},
      {"root ::= \"a\")", "expected the end of the line, found ')'"},
      {"root ::= *", "nothing to repeat"},
      {"root ::= \"a\"{3,2}", "at least 3 and at most 2"},
      {"root ::= \"a\"{1000000000}", "must be below"},
      {"root ::= \"a\"{,}", "expected a count"},
      {"root ::= \"\\q\"", "unknown escape"},
      {"root ::= \"\\ud800\"", "no character"},
      {"root ::= \"\xff\"", "not UTF-8"},
      {"root = \"a\"", "expected '::='"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: rule 'root' is defined twice"},
      {"root ::= root \"a\" | \"a\"", "rule 'root' is left-recursive: root -> root"},
      {"root ::= \"x\" a\na ::= b \"q\" | \"r\"\nb ::= \"y\"? a", "left-recursive: a -> b -> a"},
      {"root ::= a\na ::= b | \"\"\nb ::= a | \"\"", "left-recursive"},
      {"root ::= <think>", "tokens"},
      {"root ::= a b ::= \"c\"", "on a line of its own"},
  };
  for (const Wrong& each : cases) {
    const std::string message = refusal(parse_gbnf(each.text));
    EXPECT_NE(message.find(each.expected), std::string::npos) << each.text << "\n" << message;
  }
}

TEST(Gbnf, hostile_input_is_refused_quickly) {
  std::string nested = "root ::= ";
  for (int i = 0; i < 100000; ++i) nested += "(";
  EXPECT_NE(refusal(parse_gbnf(nested)).find("nested deeper"), std::string::npos);
  // Counts multiply as rules do, not as copies.
  const Recogniser counts = gbnf("root ::= ((((\"a\"{1000}){1000}){1000}){1000}){1000}");
  EXPECT_TRUE(counts.begins(std::string(100000, 'a')));
  EXPECT_NE(refusal(parse_gbnf("root ::= \"a\"{200000} \"b\"{200000}")).find("too large"),
            std::string::npos);
  EXPECT_NE(refusal(parse_gbnf(std::string((1 << 20) + 1, ' '))).find("at most"),
            std::string::npos);
  EXPECT_NE(refusal(parse_gbnf("root ::= \"" + std::string(500000, 'a') + "\"")).find("too large"),
            std::string::npos);
  // A chain of rules, each of which may be empty, and a row of optional parts.
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 20000; ++i) {
    chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " | \"\"\n";
  }
  EXPECT_TRUE(gbnf(chain + "r20000 ::= \"z\"").matches("z"));
  std::string row = "root ::=";
  for (int i = 0; i < 4000; ++i) row += " \"a\"?";
  EXPECT_TRUE(gbnf(row).matches("aaa"));
}

TEST(Pattern, whole_texts_match) {
  const Recogniser plain(compile_pattern(R"(^(\d{3}-)?[A-Z]+(?:x|yy)*\.$)"));
  EXPECT_TRUE(plain.matches("123-ABxyy."));
  EXPECT_TRUE(plain.matches("A."));
  EXPECT_FALSE(plain.begins("12-"));
  EXPECT_FALSE(plain.begins("A.x"));
  const Recogniser other(compile_pattern("[^a\\d]+?|\\u00e9|\\x41\\-"));
  EXPECT_TRUE(other.matches("bc"));
  EXPECT_TRUE(other.matches("\xc3\xa9"));
  EXPECT_TRUE(other.matches("A-"));
  EXPECT_FALSE(other.begins("7"));
}

TEST(Pattern, what_is_not_regular_or_differs_is_refused) {
  for (const char* pattern :
       {"(?=a)", "(?<n>a)",     "\\1", "a\\b",   "\\p{L}",       "a^b",     "a$b", "(a$)",
        "*a",    "a**",         "a{2", "{",      "(a",           "a)",      "[a",  "[z-a]",
        "[]",    "[[:alpha:]]", "\\",  "a{2,1}", "a{999999999}", "\\ud800", "\xff"}) {
    EXPECT_NE(refusal(compile_pattern(pattern)).find("pattern, byte"), std::string::npos)
        << pattern;
  }
}

TEST(Choices, one_of_the_texts) {
  const Recogniser choices(compile_choices({"yes", "no", "not at all", "nothing", "yes"}));
  EXPECT_TRUE(choices.matches("no"));
  EXPECT_TRUE(choices.matches("not at all"));
  EXPECT_FALSE(choices.matches("not"));
  EXPECT_FALSE(choices.begins("yes!"));
  EXPECT_FALSE(compile_choices({}).ok());
  // Each text the beginning of the next.
  std::vector<std::string> chain;
  for (size_t i = 1; i <= 400; ++i) chain.push_back(std::string(i, 'a'));
  EXPECT_TRUE(Recogniser(compile_choices(chain)).matches(std::string(399, 'a')));
}

}  // namespace
}  // namespace skvis
