// SPDX-License-Identifier: Apache-2.0
#include "text/pre_tokenizer.hpp"

#include <gtest/gtest.h>

#include "text/normalizer.hpp"

namespace skvis {
namespace {

using Texts = std::vector<std::string>;

Texts cut(const std::vector<PreTokenizerStep>& steps, std::string text, bool at_start = true) {
  const auto made = PreTokenizer::create(steps);
  if (!made) throw std::runtime_error(made.error().message);
  const auto pieces = made->apply(std::move(text), at_start);
  if (!pieces) throw std::runtime_error(pieces.error().message);
  Texts texts;
  for (const TextRange range : pieces->ranges) {
    texts.push_back(pieces->text.substr(range.begin, range.end - range.begin));
  }
  return texts;
}

Texts split(SplitBehavior behavior, std::string text, bool invert = false) {
  return cut({SplitPieces{{"-", false}, behavior, invert}}, std::move(text));
}

Texts matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::compile(pattern);
  if (!regex) throw std::runtime_error(regex.error().message);
  std::vector<TextRange> ranges;
  if (const auto found = regex->find_all(text, {0, text.size()}, ranges); !found) {
    throw std::runtime_error(found.error().message);
  }
  Texts texts;
  for (const TextRange range : ranges) {
    texts.emplace_back(text.substr(range.begin, range.end - range.begin));
  }
  return texts;
}

std::string normalize(const std::vector<NormalizerStep>& steps, std::string_view text) {
  const auto made = Normalizer::create(steps);
  if (!made) throw std::runtime_error(made.error().message);
  return *made->apply(text);
}

// The example of the reference library's documentation: "the-final--countdown".
TEST(PreTokenizer, every_split_behavior_cuts_as_documented) {
  const std::string text = "the-final--countdown";
  EXPECT_EQ(split(SplitBehavior::kRemoved, text), (Texts{"the", "final", "countdown"}));
  EXPECT_EQ(split(SplitBehavior::kIsolated, text),
            (Texts{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split(SplitBehavior::kMergedWithPrevious, text),
            (Texts{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split(SplitBehavior::kMergedWithNext, text),
            (Texts{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split(SplitBehavior::kContiguous, text),
            (Texts{"the", "-", "final", "--", "countdown"}));
}

TEST(PreTokenizer, invert_swaps_matches_and_what_lies_between) {
  EXPECT_EQ(split(SplitBehavior::kRemoved, "a-b", true), (Texts{"-"}));
}

TEST(PreTokenizer, empty_matches_cut_without_taking_anything) {
  const SplitPieces before_capitals{{"(?=[A-Z])", true}, SplitBehavior::kIsolated, false};
  EXPECT_EQ(cut({before_capitals}, "oneTwoThree"), (Texts{"one", "Two", "Three"}));
}

TEST(PreTokenizer, byte_level_spells_bytes_and_may_prefix_a_space) {
  EXPECT_EQ(cut({SpellBytes{false, true}}, "it's 12\n"), (Texts{"it", "'s",
                                                                "\xc4\xa0"
                                                                "12",
                                                                "\xc4\x8a"}));
  EXPECT_EQ(cut({SpellBytes{true, false}}, "a b"), (Texts{"\xc4\xa0"
                                                          "a\xc4\xa0"
                                                          "b"}));
  EXPECT_EQ(cut({SpellBytes{true, false}}, " a"), (Texts{"\xc4\xa0"
                                                         "a"}));
}

TEST(PreTokenizer, metaspace_marks_spaces_by_its_scheme) {
  const auto mark = [](PrependScheme scheme, bool split, std::string text, bool at_start) {
    return cut({MarkSpaces{"_", scheme, split}}, std::move(text), at_start);
  };
  EXPECT_EQ(mark(PrependScheme::kAlways, true, "a b", false), (Texts{"_a", "_b"}));
  EXPECT_EQ(mark(PrependScheme::kAlways, true, " a", false), (Texts{"_a"}));
  EXPECT_EQ(mark(PrependScheme::kFirst, false, "a b", true), (Texts{"_a_b"}));
  EXPECT_EQ(mark(PrependScheme::kFirst, false, "a b", false), (Texts{"a_b"}));
  EXPECT_EQ(mark(PrependScheme::kNever, true, "a  b", true), (Texts{"a", "_", "_b"}));
}

TEST(PreTokenizer, empty_text_has_no_pieces) {
  EXPECT_EQ(cut({SpellBytes{true, true}}, ""), Texts());
}

TEST(Regex, oniguruma_meanings_are_kept) {
  EXPECT_EQ(matches("\\s+",
                    "a\xe1\xa0\x8e"
                    "b\xc2\x85\xe3\x80\x80"
                    "c"),  // U+180E is no space
            (Texts{"\xc2\x85\xe3\x80\x80"}));
  EXPECT_EQ(matches("[^\\s]+",
                    "a\xc2\xa0"
                    "b"),
            (Texts{"a", "b"}));
  EXPECT_EQ(matches("\\w+", "e\xcc\x81t_1-x"), (Texts{"e\xcc\x81t_1", "x"}));
  EXPECT_EQ(matches("\\h+", "0fg \t"), (Texts{"0f"}));
  EXPECT_EQ(matches("[\\u4e00-\\u9fff]+", "a\xe4\xbd\xa0\xe5\xa5\xbd"),
            (Texts{"\xe4\xbd\xa0\xe5\xa5\xbd"}));
  EXPECT_EQ(matches("(?i:'LL)", "we'll"), (Texts{"'ll"}));
  EXPECT_EQ(matches("[]a]+", "]a["), (Texts{"]a"}));
  EXPECT_EQ(matches("[[:digit:]]", "a1"), (Texts{"1"}));
}

TEST(Regex, bad_patterns_are_refused_with_their_text) {
  for (const std::string_view bad :
       {"(", "[a", "\\", "\\u12", "[a&&b]", "[a[b]]", "\\p{Nothing}", "a\\C"}) {
    const auto regex = Regex::compile(bad);
    ASSERT_FALSE(regex.ok()) << bad;
    EXPECT_NE(regex.error().message.find(bad), std::string::npos) << regex.error().message;
  }
}

TEST(Regex, exponential_backtracking_is_an_error_and_not_an_endless_wait) {
  const auto regex = Regex::compile("(?:a|a)+$");
  ASSERT_TRUE(regex.ok());
  std::vector<TextRange> ranges;
  const std::string text = std::string(60, 'a') + "b";
  EXPECT_FALSE(regex->find_all(text, {0, text.size()}, ranges).ok());
}

TEST(Normalizer, steps_apply_in_order) {
  EXPECT_EQ(normalize({PrependText{"_"}, ReplaceText{{" ", false}, "_"}}, "a b"), "_a_b");
  EXPECT_EQ(normalize({PrependText{"_"}}, ""), "");
  EXPECT_EQ(normalize({ReplaceText{{"\\d+", true}, "#"}}, "a12b3"), "a#b#");
  EXPECT_EQ(normalize({StripText{true, false}},
                      " \xe3\x80\x80"
                      "a "),
            "a ");
  EXPECT_EQ(normalize({StripText{true, true}}, " \t"), "");
}

TEST(Normalizer, unicode_forms_compose_and_decompose) {
  EXPECT_EQ(normalize({UnicodeForm::kNfc}, "e\xcc\x81"), "\xc3\xa9");
  EXPECT_EQ(normalize({UnicodeForm::kNfd}, "\xc3\xa9"), "e\xcc\x81");
  EXPECT_EQ(normalize({UnicodeForm::kNfkc}, "\xef\xac\x81"), "fi");
  EXPECT_EQ(normalize({UnicodeForm::kNfc}, "\xef\xac\x81"), "\xef\xac\x81");
}

}  // namespace
}  // namespace skvis
