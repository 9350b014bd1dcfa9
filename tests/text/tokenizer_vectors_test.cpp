// SPDX-License-Identifier: Apache-2.0
// Ids that other tokenizers give, case by case.
#include <gmock/gmock.h>

#include "formats/gguf.hpp"
#include "formats/tokenizer_json.hpp"
#include "text/detokenizer.hpp"
#include "text/load_tokenizer.hpp"
#include "text/tokenizer_cases.hpp"

namespace skvis {
namespace {

Tokenizer load(const std::filesystem::path& folder) {
  auto tokenizer = load_tokenizer(folder);
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return std::move(*tokenizer);
}

Tokenizer load_gguf(const std::filesystem::path& path) {
  auto gguf = GgufFile::open(path);
  if (!gguf) throw std::runtime_error(gguf.error().message);
  auto tokenizer = load_tokenizer(*gguf);
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return std::move(*tokenizer);
}

std::string stream(const Tokenizer& tokenizer, const std::vector<uint32_t>& ids,
                   DecodeOptions options = {}) {
  Detokenizer detokenizer(tokenizer, options);
  std::string text;
  for (const uint32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.flush();
}

// The cases whose ids do not decode to their text.
std::vector<size_t> changed_texts(const Tokenizer& tokenizer,
                                  const std::vector<TokenizerCase>& cases) {
  std::vector<size_t> changed;
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string text = tokenizer.decode(cases[i].ids);
    EXPECT_EQ(stream(tokenizer, cases[i].ids), text);
    if (text != cases[i].text) changed.push_back(i);
  }
  return changed;
}

TEST(TokenizerVectors, gpt2_encodes_and_decodes_every_case) {
  const Tokenizer tokenizer = load(source_path("tests/data/tokenizers/gpt2"));
  const auto cases = read_cases(source_path("tests/data/tokenizers/gpt2/vectors.json"));
  ASSERT_EQ(cases.size(), 102u);
  expect_encodes(tokenizer, cases);
  EXPECT_THAT(changed_texts(tokenizer, cases), testing::IsEmpty());
}

TEST(TokenizerVectors, qwen25_encodes_every_case_and_decodes_all_but_two_that_nfc_changes) {
  const Tokenizer tokenizer = load(source_path("tests/data/tokenizers/qwen2.5"));
  const auto cases = read_cases(source_path("tests/data/tokenizers/qwen2.5/vectors.json"));
  ASSERT_EQ(cases.size(), 101u);
  expect_encodes(tokenizer, cases);
  EXPECT_EQ(changed_texts(tokenizer, cases).size(), 2u);
}

TEST(TokenizerVectors, llama2_encodes_every_case_and_decodes_all_but_four) {
  const auto folder = shared_path("tokenizers/llama2");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  const Tokenizer tokenizer = load(folder);
  const auto cases = read_cases(folder / "vectors.json");
  ASSERT_EQ(cases.size(), 120u);
  expect_encodes(tokenizer, cases);
  EXPECT_EQ(changed_texts(tokenizer, cases).size(), 4u);
  for (const TokenizerCase& one : cases) {  // with special tokens added: <s> in front
    std::vector<uint32_t> expected = one.ids;
    expected.insert(expected.begin(), 1);
    EXPECT_EQ(*tokenizer.encode(one.text, {.add_special = true}), expected) << one.text;
  }
}

TEST(TokenizerVectors, llama2_in_the_newer_layout_gives_the_same_ids) {
  const auto folder = shared_path("tokenizers/llama2");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  auto document = nlohmann::json::parse(*read_file(folder / "tokenizer.json"));
  document["normalizer"] = nullptr;
  document["pre_tokenizer"] = {{"type", "Metaspace"},
                               {"replacement", "\xe2\x96\x81"},
                               {"prepend_scheme", "first"},
                               {"split", false}};
  for (auto& token : document["added_tokens"]) token["normalized"] = false;
  auto spec = parse_tokenizer_json(document.dump(), "newer");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  const auto tokenizer = Tokenizer::create(std::move(*spec));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  auto cases = read_cases(folder / "vectors.json");
  cases.resize(113);  // behind them: special tokens, which this layout finds anywhere
  size_t compared = 0;
  for (const TokenizerCase& one : cases) {
    // A mark or space at the start is taken for the one that would be put there.
    if (one.text.starts_with(" ") || one.text.starts_with("\xe2\x96\x81")) continue;
    if (one.text.find("<s>") != one.text.npos || one.text.find("</s>") != one.text.npos) continue;
    EXPECT_EQ(*tokenizer->encode(one.text), one.ids) << one.text;
    ++compared;
  }
  EXPECT_GT(compared, 80u);
}

TEST(TokenizerVectors, gpt2_and_qwen25_add_no_special_tokens) {
  for (const char* name : {"gpt2", "qwen2.5"}) {
    const Tokenizer tokenizer = load(source_path(std::string("tests/data/tokenizers/") + name));
    EXPECT_EQ(*tokenizer.encode("Hello", {.add_special = true}), *tokenizer.encode("Hello"));
  }
}

TEST(TokenizerVectors, gguf_of_gpt2_encodes_every_case) {
  const auto path = source_path("tests/data/tokenizers/ggml-vocab-gpt-2.gguf");
  const Tokenizer tokenizer = load_gguf(path);
  const auto cases = read_llama_cpp_cases(path);
  ASSERT_EQ(cases.size(), 46u);
  expect_encodes(tokenizer, cases);
  EXPECT_THAT(changed_texts(tokenizer, cases), testing::IsEmpty());
  EXPECT_EQ(tokenizer.eos(), 50256u);
  // The same vocabulary as the Hugging Face file: all of its cases too.
  expect_encodes(tokenizer, read_cases(source_path("tests/data/tokenizers/gpt2/vectors.json")));
}

TEST(TokenizerVectors, gguf_of_llama2_encodes_every_case) {
  const auto path = shared_path("tokenizers/ggml-vocab-llama-spm.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const Tokenizer tokenizer = load_gguf(path);
  const auto cases = read_llama_cpp_cases(path);
  ASSERT_EQ(cases.size(), 46u);
  expect_encodes(tokenizer, cases);
  EXPECT_THAT(changed_texts(tokenizer, cases), testing::IsEmpty());
  EXPECT_EQ(tokenizer.encode("Hello", {.add_special = true})->front(), 1u);
}

TEST(TokenizerVectors, scores_of_the_gguf_give_the_ids_of_the_merges) {
  const auto path = shared_path("tokenizers/ggml-vocab-llama-spm.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const Tokenizer tokenizer = load_gguf(path);
  auto cases = read_cases(shared_path("tokenizers/llama2/vectors.json"));
  cases.resize(113);  // behind them: special tokens that Hugging Face normalizes and GGUF does not
  for (const TokenizerCase& one : cases) {
    if (one.text.find("<s>") != one.text.npos || one.text.find("</s>") != one.text.npos) continue;
    EXPECT_EQ(*tokenizer.encode(one.text), one.ids) << one.text;
  }
}

TEST(TokenizerVectors, tiny_model_encodes_and_decodes_every_case) {
  const Tokenizer tokenizer = load(source_path("models/tiny"));
  const auto cases = read_cases(source_path("models/tiny/tokenizer_vectors.json"));
  ASSERT_FALSE(cases.empty());
  expect_encodes(tokenizer, cases);
  EXPECT_EQ(tokenizer.end_ids(), (std::vector<uint32_t>{4095, 4093}));
}

TEST(TokenizerVectors, gguf_of_smollm2_encodes_and_decodes_every_case) {
  SKVIS_NEED_DEFAULT_MODEL();
  const Tokenizer tokenizer = load_gguf(default_model_path());
  const auto cases = read_cases(source_path("tests/data/smollm2/tokenizer_vectors.json"));
  ASSERT_EQ(cases.size(), 55u);
  expect_encodes(tokenizer, cases);
  EXPECT_THAT(changed_texts(tokenizer, cases), testing::IsEmpty());
}

}  // namespace
}  // namespace skvis
