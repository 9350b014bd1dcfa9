// SPDX-License-Identifier: Apache-2.0
#include "formats/tokenizer_gguf.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "formats/gguf_writer.hpp"

namespace skvis {
namespace {

using testing::HasSubstr;

// What a test changes in a small vocabulary.
struct Vocabulary {
  std::string model = "gpt2";
  std::string pre = "gpt-2";
  std::vector<std::string> tokens = {"a", "b", "ab", "<s>", "<tool>", "<unk>"};
  std::vector<int32_t> types = {1, 1, 1, 3, 4, 2};
  std::vector<std::string> merges = {"a b"};
  std::vector<float> scores = {0, 0, -1, 0, 0, 0};
  uint32_t bos = 3;
};

Result<TokenizerSpec> read(const Vocabulary& v) {
  GgufWriter writer;
  writer.text("tokenizer.ggml.model", v.model).text("tokenizer.ggml.pre", v.pre);
  writer.texts("tokenizer.ggml.tokens", v.tokens).texts("tokenizer.ggml.merges", v.merges);
  writer.array("tokenizer.ggml.token_type", GgufType::kInt32, v.types);
  writer.array("tokenizer.ggml.scores", GgufType::kFloat32, v.scores);
  writer.u32("tokenizer.ggml.bos_token_id", v.bos).u32("tokenizer.ggml.eos_token_id", 3);
  const std::string bytes = writer.bytes();
  const auto gguf = GgufFile::parse(as_bytes(bytes), "v.gguf");
  if (!gguf) return gguf.error();
  return read_tokenizer_gguf(*gguf);
}

std::string refusal(const Vocabulary& vocabulary) {
  const auto spec = read(vocabulary);
  return spec ? "accepted" : spec.error().message;
}

TEST(TokenizerGguf, token_types_say_what_is_special_and_what_merges_may_make) {
  const auto spec = read({});
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->mergeable, (std::vector<bool>{true, true, true, false, false, false}));
  ASSERT_EQ(spec->added_tokens.size(), 3u);
  EXPECT_TRUE(spec->added_tokens[0].special);   // control
  EXPECT_FALSE(spec->added_tokens[1].special);  // user-defined
  EXPECT_TRUE(spec->added_tokens[2].special);   // unknown
  EXPECT_EQ(spec->bos, 3u);
  EXPECT_TRUE(spec->prefix.empty());
}

TEST(TokenizerGguf, every_pre_tokenizer_name_is_known_and_others_are_refused) {
  for (const char* name :
       {"gpt-2", "llama-bpe", "llama3", "llama-v3", "qwen2", "smollm", "default"}) {
    Vocabulary vocabulary;
    vocabulary.pre = name;
    const auto spec = read(vocabulary);
    ASSERT_TRUE(spec.ok()) << spec.error().message;
    const bool is_llama3 = std::string(name).starts_with("llama");
    EXPECT_EQ(spec->ignore_merges, is_llama3) << name;
    EXPECT_EQ(spec->prefix.empty(), !is_llama3) << name;  // Llama 3 begins with BOS
  }
  Vocabulary vocabulary;
  vocabulary.pre = "my-own";
  EXPECT_THAT(refusal(vocabulary),
              HasSubstr("tokenizer.ggml.pre is 'my-own', expected one of gpt-2"));
}

TEST(TokenizerGguf, llama_model_has_scores_and_begins_with_bos) {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  const auto spec = read(vocabulary);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->model, MergeModel::kScores);
  EXPECT_EQ(spec->scores, vocabulary.scores);
  EXPECT_EQ(spec->prefix, std::vector<uint32_t>{3});
  vocabulary.scores[1] = NAN;
  EXPECT_THAT(refusal(vocabulary), HasSubstr("tokenizer.ggml.scores[1] is not a number"));
  vocabulary.scores.pop_back();
  EXPECT_THAT(refusal(vocabulary), HasSubstr("scores has 5 entries for 6 tokens"));
}

TEST(TokenizerGguf, lies_are_refused_with_the_key) {
  Vocabulary vocabulary;
  vocabulary.model = "bert";
  EXPECT_THAT(refusal(vocabulary), HasSubstr("tokenizer.ggml.model is 'bert'"));
  vocabulary = {};
  vocabulary.merges = {"a b", "b b"};
  EXPECT_THAT(refusal(vocabulary), HasSubstr("merges[1] ('b b') needs the token 'bb'"));
  vocabulary.merges = {"ab"};
  EXPECT_THAT(refusal(vocabulary), HasSubstr("merges[0] is 'ab', expected two tokens"));
  vocabulary = {};
  vocabulary.types.pop_back();
  EXPECT_THAT(refusal(vocabulary), HasSubstr("token_type has 5 entries for 6 tokens"));
  vocabulary = {};
  vocabulary.bos = 6;
  EXPECT_THAT(refusal(vocabulary), HasSubstr("bos_token_id is 6, but there are 6 tokens"));
  vocabulary = {};
  vocabulary.tokens[1] = "a";
  EXPECT_THAT(refusal(vocabulary), HasSubstr("tokens[0] and [1] are both 'a'"));
  vocabulary.tokens.clear();
  EXPECT_THAT(refusal(vocabulary), HasSubstr("tokens has 0 tokens"));
}

}  // namespace
}  // namespace skvis
