// SPDX-License-Identifier: Apache-2.0
// The tokenizer's rules one by one, on small vocabularies made here.
#include "text/tokenizer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "formats/tokenizer_json.hpp"
#include "text/detokenizer.hpp"
#include "text/load_tokenizer.hpp"
#include "text/tokenizer_cases.hpp"

namespace skvis {
namespace {

using Ids = std::vector<uint32_t>;

Tokenizer make(TokenizerSpec spec) {
  if (spec.mergeable.empty()) spec.mergeable.assign(spec.tokens.size(), true);
  auto tokenizer = Tokenizer::create(std::move(spec));
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return std::move(*tokenizer);
}

Tokenizer gpt2() {
  auto tokenizer = load_tokenizer(source_path("tests/data/tokenizers/gpt2"));
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return std::move(*tokenizer);
}

// a b ab c abc, merged (b c is no merge).
TokenizerSpec letters() {
  TokenizerSpec spec;
  spec.tokens = {"a", "b", "ab", "c", "abc"};
  spec.merges = {{0, 1, 2}, {2, 3, 4}};
  return spec;
}

std::string random_utf8(std::mt19937& random, size_t characters) {
  std::string text;
  for (size_t i = 0; i < characters; ++i) {
    static constexpr uint32_t kLimits[] = {0x80, 0x80, 0x800, 0x3000, 0x10000, 0x110000};
    uint32_t c = random() % kLimits[random() % 6];
    if (c >= 0xd800 && c < 0xe000) c = ' ';
    append_utf8(c, text);
  }
  return text;
}

TEST(Tokenizer, merges_go_by_rank_and_then_from_the_left) {
  const Tokenizer tokenizer = make(letters());
  EXPECT_EQ(*tokenizer.encode("abc"), (Ids{4}));
  EXPECT_EQ(*tokenizer.encode("aabcb"), (Ids{0, 4, 1}));
  TokenizerSpec spec;
  spec.tokens = {"a", "aa"};
  spec.merges = {{0, 0, 1}};
  EXPECT_EQ(*make(spec).encode("aaaaa"), (Ids{1, 1, 0}));
}

TEST(Tokenizer, a_long_piece_gives_the_ids_of_its_independent_parts) {
  // "c" and "a" never stand side by side in a token, so "abcabc..." is cut behind each "c".
  const Tokenizer tokenizer = make(letters());
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "abc";
  EXPECT_EQ(*tokenizer.encode(text), Ids(1000, 4));
}

TEST(Tokenizer, unknown_characters_are_dropped_or_unk_or_fused) {
  TokenizerSpec spec = letters();
  EXPECT_EQ(*make(spec).encode("axb"), (Ids{2}));  // without unk, as the reference library does
  spec.tokens.push_back("<unk>");
  spec.unk = 5;
  EXPECT_EQ(*make(spec).encode("axxb"), (Ids{0, 5, 5, 1}));
  spec.fuse_unk = true;
  EXPECT_EQ(*make(spec).encode("axxb"), (Ids{0, 5, 1}));
}

TEST(Tokenizer, ignore_merges_takes_a_piece_that_is_a_token) {
  TokenizerSpec spec = letters();
  spec.tokens.push_back("cba");  // no merges lead to it
  EXPECT_EQ(*make(spec).encode("cba"), (Ids{3, 1, 0}));
  spec.ignore_merges = true;
  EXPECT_EQ(*make(spec).encode("cba"), (Ids{5}));
}

TEST(Tokenizer, scores_decide_among_joins_that_are_tokens) {
  TokenizerSpec spec;
  spec.model = MergeModel::kScores;
  spec.tokens = {"a", "b", "c", "ab", "bc", "<s>"};
  spec.scores = {0, 0, 0, -2, -1, 9};
  spec.mergeable = {true, true, true, true, true, false};
  EXPECT_EQ(*make(spec).encode("abc"), (Ids{0, 4}));
  EXPECT_EQ(*make(spec).encode("ab"), (Ids{3}));
  EXPECT_EQ(*make(spec).encode("<s>"), Ids());  // never merged into a control token
}

TEST(Tokenizer, special_tokens_in_text_count_only_when_they_are_parsed) {
  const Tokenizer tokenizer = gpt2();
  EXPECT_EQ(*tokenizer.encode("a<|endoftext|>b"), (Ids{64, 50256, 65}));
  const Ids plain = *tokenizer.encode("a<|endoftext|>b", {.parse_special = false});
  EXPECT_EQ(std::count(plain.begin(), plain.end(), 50256u), 0);
  EXPECT_EQ(tokenizer.decode(plain), "a<|endoftext|>b");
  EXPECT_TRUE(tokenizer.is_special(50256));
  EXPECT_FALSE(tokenizer.is_special(64));
  EXPECT_EQ(tokenizer.decode(Ids{64, 50256, 65}, {.skip_special = true}), "ab");
}

TEST(Tokenizer, added_tokens_take_the_longest_and_the_spaces_they_ask_for) {
  TokenizerSpec spec;
  spec.tokens = {"a", "b", " ", "<x>", "<x><y>", "<l>", "<r>", "<w>"};
  spec.added_tokens = {{.id = 3, .content = "<x>"},
                       {.id = 4, .content = "<x><y>"},
                       {.id = 5, .content = "<l>", .lstrip = true},
                       {.id = 6, .content = "<r>", .rstrip = true},
                       {.id = 7, .content = "<w>", .single_word = true}};
  const Tokenizer tokenizer = make(spec);
  EXPECT_EQ(*tokenizer.encode("a<x><y>b<x>"), (Ids{0, 4, 1, 3}));
  EXPECT_EQ(*tokenizer.encode("a  <l> b"), (Ids{0, 5, 2, 1}));
  EXPECT_EQ(*tokenizer.encode("a <r>  b"), (Ids{0, 2, 6, 1}));
  EXPECT_EQ(*tokenizer.encode("<x>  <l>"), (Ids{3, 5}));
  EXPECT_EQ(*tokenizer.encode("a <w> b"), (Ids{0, 2, 7, 2, 1}));
  EXPECT_EQ(*tokenizer.encode("a<w>b"), (Ids{0, 1}));
}

TEST(Tokenizer, text_that_is_not_utf8_is_refused_with_the_byte) {
  const Tokenizer tokenizer = gpt2();
  for (const std::string_view bad : {"abc\xff", "abc\xe4\xbd", "abc\xc0\x80", "abc\xed\xa0\x80"}) {
    const auto ids = tokenizer.encode(bad);
    ASSERT_FALSE(ids.ok());
    EXPECT_NE(ids.error().message.find("byte 3"), std::string::npos) << ids.error().message;
  }
}

TEST(Tokenizer, random_text_comes_back) {
  const Tokenizer tokenizer = gpt2();
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    const std::string text = random_utf8(random, random() % 60);
    const auto ids = tokenizer.encode(text);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(tokenizer.decode(*ids), text);
    std::string joined;
    for (const uint32_t id : *ids) joined += tokenizer.token_bytes(id);
    EXPECT_EQ(joined, text);
  }
}

TEST(Tokenizer, streams_of_random_ids_equal_the_whole_and_hold_whole_characters) {
  const Tokenizer tokenizer = gpt2();
  std::mt19937 random(8);
  for (int i = 0; i < 200; ++i) {
    Ids ids(random() % 40);
    for (uint32_t& id : ids) id = random() % 50300;  // the last of them are no tokens
    Detokenizer detokenizer(tokenizer);
    std::string text;
    for (const uint32_t id : ids) {
      const std::string piece = detokenizer.push(id);
      EXPECT_FALSE(find_invalid_utf8(piece).has_value());
      text += piece;
    }
    EXPECT_EQ(text + detokenizer.flush(), tokenizer.decode(ids));
  }
}

TEST(Tokenizer, a_character_is_held_back_until_it_is_whole) {
  const Tokenizer tokenizer = gpt2();
  const Ids ids = *tokenizer.encode("\xf0\x9f\xa6\x99");  // a llama, in three tokens
  ASSERT_GT(ids.size(), 1u);
  Detokenizer detokenizer(tokenizer);
  for (size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(detokenizer.push(ids[i]), "");
  EXPECT_EQ(detokenizer.push(ids.back()), "\xf0\x9f\xa6\x99");
  EXPECT_EQ(detokenizer.push(ids[0]), "");
  EXPECT_EQ(detokenizer.flush(), "\xef\xbf\xbd");
  EXPECT_EQ(detokenizer.flush(), "");
}

TEST(Tokenizer, sentencepiece_strips_the_first_space_of_a_text_but_not_of_its_continuation) {
  TokenizerSpec spec;
  const std::string mark = "\xe2\x96\x81";
  spec.tokens = {mark + "Hi", "<s>", mark, "<0xE2>", "<0x82>", "<0xAC>"};
  spec.added_tokens = {{.id = 1, .content = "<s>", .special = true}};
  spec.decoder = {ReplaceText{{mark, false}, " "}, DecodeFallback{}, FuseTokens{},
                  StripEnds{" ", 1, 0}};
  const Tokenizer tokenizer = make(spec);
  EXPECT_EQ(tokenizer.decode(Ids{0, 0}), "Hi Hi");
  EXPECT_EQ(tokenizer.decode(Ids{0, 0}, {.continues = true}), " Hi Hi");
  EXPECT_EQ(tokenizer.decode(Ids{2, 0}), " Hi");
  EXPECT_EQ(tokenizer.decode(Ids{1, 0}, {.skip_special = true}), "Hi");
  EXPECT_EQ(tokenizer.decode(Ids{1, 0}), "<s> Hi");
  EXPECT_EQ(tokenizer.decode(Ids{3, 4, 5}), "\xe2\x82\xac");
  EXPECT_EQ(tokenizer.decode(Ids{3, 4, 0}), "\xef\xbf\xbd Hi");
  EXPECT_EQ(tokenizer.token_bytes(3), "\xe2");
  EXPECT_EQ(tokenizer.token_bytes(99), "");
}

TEST(Tokenizer, long_text_without_blanks_takes_no_quadratic_time) {
  const Tokenizer tokenizer = gpt2();
  const auto seconds = [&](size_t bytes) {
    const std::string text(bytes, 'a');
    const auto start = std::chrono::steady_clock::now();
    EXPECT_TRUE(tokenizer.encode(text).ok());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double shorter = seconds(50'000);
  // 16 times the text: about 20 times the time; quadratic would be 256 times.
  EXPECT_LT(seconds(800'000), shorter * 100 + 0.5);
}

TEST(Tokenizer, specs_that_contradict_themselves_are_refused) {
  TokenizerSpec spec = letters();
  EXPECT_FALSE(Tokenizer::create(TokenizerSpec{}).ok());
  EXPECT_FALSE(Tokenizer::create(spec).ok());  // nothing says which tokens are mergeable
  spec.mergeable.assign(spec.tokens.size(), true);
  EXPECT_TRUE(Tokenizer::create(spec).ok());
  spec.merges.push_back({0, 1, 77});
  EXPECT_FALSE(Tokenizer::create(spec).ok());
  spec.merges.pop_back();
  spec.prefix = {5};
  EXPECT_FALSE(Tokenizer::create(spec).ok());
  spec.prefix.clear();
  spec.tokens[0] = "\xff";
  EXPECT_FALSE(Tokenizer::create(spec).ok());
}

TEST(Tokenizer, rewriting_that_multiplies_text_is_refused) {
  TokenizerSpec spec = letters();
  spec.mergeable.assign(spec.tokens.size(), true);
  for (int i = 0; i < 40; ++i) spec.normalizer.emplace_back(ReplaceText{{"a", false}, "aa"});
  const auto ids = make(spec).encode("aaa");
  ASSERT_FALSE(ids.ok());
  EXPECT_NE(ids.error().message.find("at most"), std::string::npos);
  spec.normalizer.clear();
  for (int i = 0; i < 40; ++i) spec.pre_tokenizer.emplace_back(SpellBytes{false, false});
  EXPECT_FALSE(make(spec).encode("\xc3\xa9").ok());
}

}  // namespace
}  // namespace skvis
