// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.hpp"
#include "formats/gguf_writer.hpp"

namespace skvis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(const std::string& file) {
  const auto result = GgufFile::parse(as_bytes(file), "f");
  return result ? "no error" : result.error().message;
}

GgufWriter sample() {
  GgufWriter writer;
  writer.u32("n", 7)
      .f32("x", 0.5f)
      .text("s", "text")
      .texts("tokens", {"a", "", "ccc"})
      .array<float>("scores", GgufType::kFloat32, {1.0f, -2.0f})
      .array<int8_t>("types", GgufType::kInt8, {-1, 3})
      .array<uint8_t>("flags", GgufType::kBool, {1, 0, 1})
      .value<uint8_t>("yes", GgufType::kBool, 1)
      .value<uint64_t>("huge", GgufType::kUint64, ~uint64_t{0})
      .value<int64_t>("negative", GgufType::kInt64, -5)
      .value<double>("nan", GgufType::kFloat64, std::nan(""));
  writer.tensor("w", 0, {2, 3}, float_bytes({1, 2, 3, 4, 5, 6}));
  writer.tensor("k", 12, {1, 256}, std::string(144, '\1'));
  writer.tensor("future", 77, {5}, "12345678");
  return writer;
}

TEST(Gguf, values_of_every_kind_are_read) {
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter writer = sample();
    writer.version = version;
    const std::string bytes = writer.bytes();
    const auto file = GgufFile::parse(as_bytes(bytes), "f");
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->version(), version);
    EXPECT_EQ(*file->integer("n", 0, 10), 7);
    EXPECT_EQ(*file->number("n"), 7.0);
    EXPECT_EQ(*file->number("x"), 0.5);
    EXPECT_EQ(*file->string("s"), "text");
    EXPECT_EQ(*file->boolean("yes"), true);
    EXPECT_EQ(*file->integer("negative", -10, 10), -5);
    EXPECT_THAT(*file->strings("tokens"), ElementsAre("a", "", "ccc"));
    EXPECT_THAT(*file->numbers("scores"), ElementsAre(1.0, -2.0));
    EXPECT_THAT(*file->integers("types"), ElementsAre(-1, 3));
    EXPECT_THAT(*file->numbers("types"), ElementsAre(-1.0, 3.0));
    EXPECT_THAT(*file->booleans("flags"), ElementsAre(true, false, true));
    EXPECT_EQ(*file->integer_or("absent", 0, 1, 1), 1);
    EXPECT_EQ(*file->string_or("absent", "d"), "d");
    EXPECT_EQ(*file->number_or("absent", 2.5), 2.5);
    EXPECT_EQ(*file->boolean_or("absent", true), true);
  }
}

TEST(Gguf, wrong_types_and_ranges_name_key_expected_and_found) {
  const std::string bytes = sample().bytes();
  const auto file = GgufFile::parse(as_bytes(bytes), "f");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->integer("absent", 0, 1).error().message,
            "f: metadata 'absent' is missing, expected a whole number");
  EXPECT_EQ(file->integer("x", 0, 1).error().message,
            "f: metadata 'x' must be a whole number, found float32");
  EXPECT_EQ(file->integer("n", 8, 9).error().message,
            "f: metadata 'n' must be between 8 and 9, found 7");
  EXPECT_FALSE(file->integer("huge", 0, INT64_MAX).ok());
  EXPECT_FALSE(file->number("nan").ok());
  EXPECT_FALSE(file->number("s").ok());
  EXPECT_FALSE(file->string("n").ok());
  EXPECT_FALSE(file->boolean("n").ok());
  EXPECT_EQ(file->strings("scores").error().message,
            "f: metadata 'scores' must be an array of strings, found array of 2 float32");
  EXPECT_FALSE(file->integers("scores").ok());
  EXPECT_FALSE(file->integers("tokens").ok());
  EXPECT_FALSE(file->numbers("tokens").ok());
  EXPECT_FALSE(file->numbers("n").ok());
  EXPECT_FALSE(file->booleans("types").ok());
  EXPECT_FALSE(file->integer_or("s", 0, 1, 0).ok());
}

TEST(Gguf, tensors_are_listed_and_only_the_needed_type_is_an_error) {
  const std::string bytes = sample().bytes();
  const auto file = GgufFile::parse(as_bytes(bytes), "f");
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(file->tensors().size(), 3u);
  const auto w = file->tensor(*file->find_tensor("w"));
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->shape, (std::vector<size_t>{2, 3}));
  std::vector<float> row(3);
  dequantize_rows(*w, 1, 1, row.data());
  EXPECT_THAT(row, ElementsAre(4, 5, 6));
  EXPECT_EQ(file->tensor(*file->find_tensor("k")).error().message,
            "f: tensor k is stored as Q4_K, expected F32, F16, BF16, Q8_0, Q4_0 or Q4_1");
  EXPECT_THAT(file->tensor(*file->find_tensor("future")).error().message,
              HasSubstr("stored as type 77"));
  EXPECT_EQ(file->find_tensor("absent"), nullptr);
}

TEST(Gguf, wrong_beginnings_are_refused) {
  EXPECT_THAT(error_of(""), HasSubstr("magic at byte 0 needs 4 bytes, only 0 are left"));
  EXPECT_THAT(error_of("GGML0000"), HasSubstr("must begin with the letters GGUF"));
  GgufWriter writer;
  writer.version = 1;
  EXPECT_THAT(error_of(writer.bytes()), HasSubstr("version 1 is not supported, expected 2 or 3"));
  writer.version = 0x03000000;
  EXPECT_THAT(error_of(writer.bytes()), HasSubstr("big-endian"));
}

TEST(Gguf, counts_that_lie_are_refused_before_memory_is_taken) {
  GgufWriter writer = sample();
  writer.claimed_metadata = ~uint64_t{0};
  EXPECT_THAT(error_of(writer.bytes()), HasSubstr("header claims 18446744073709551615 metadata"));
  writer = sample();
  writer.claimed_tensors = uint64_t{1} << 40;
  EXPECT_THAT(error_of(writer.bytes()), HasSubstr("1099511627776 tensors"));

  const auto array = [](uint32_t type, uint64_t count) {
    std::string bytes;
    put<uint32_t>(bytes, 9);
    put(bytes, type);
    put(bytes, count);
    return GgufWriter().raw("list", bytes).bytes();
  };
  EXPECT_THAT(error_of(array(4, uint64_t{1} << 62)), HasSubstr("array 'list' claims"));
  EXPECT_THAT(error_of(array(8, uint64_t{1} << 62)), HasSubstr("array 'list' claims"));
  EXPECT_THAT(error_of(array(9, uint64_t{1} << 62)), HasSubstr("array 'list' claims"));
  EXPECT_THAT(error_of(array(13, 0)), HasSubstr("values of unknown type 13"));
}

TEST(Gguf, arrays_nest_to_a_limit) {
  const auto nested = [](int levels) {
    std::string bytes;
    put<uint32_t>(bytes, 9);
    for (int i = 1; i < levels; ++i) {
      put<uint32_t>(bytes, 9);
      put<uint64_t>(bytes, 1);
    }
    put<uint32_t>(bytes, 0);
    put<uint64_t>(bytes, 2);
    bytes += "ab";
    return GgufWriter().raw("list", bytes).u32("after", 3).bytes();
  };
  const std::string good = nested(4);
  const auto file = GgufFile::parse(as_bytes(good), "f");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(*file->integer("after", 0, 9), 3);
  EXPECT_FALSE(file->integers("list").ok());
  EXPECT_THAT(error_of(nested(5)), HasSubstr("nested deeper than 4 levels"));
  EXPECT_THAT(error_of(nested(1000)), HasSubstr("nested deeper than 4 levels"));
}

TEST(Gguf, duplicates_and_unknown_value_types_are_refused) {
  EXPECT_THAT(error_of(GgufWriter().u32("a", 1).u32("a", 2).bytes()),
              HasSubstr("'a' is given twice"));
  EXPECT_THAT(error_of(GgufWriter().tensor("t", 0, {1}, "1234").tensor("t", 0, {1}, "1").bytes()),
              HasSubstr("tensor t is described twice"));
  std::string bytes;
  put<uint32_t>(bytes, 13);
  EXPECT_THAT(error_of(GgufWriter().raw("v", bytes).u32("x", 1).bytes()),
              HasSubstr("metadata 'v' has unknown type 13"));
}

TEST(Gguf, tensors_out_of_place_are_refused) {
  const std::string data(64, '\1');
  EXPECT_THAT(error_of(GgufWriter().tensor("t", 0, {17}, data).bytes()),
              HasSubstr("tensor t: 68 bytes at offset 0 do not lie in the 64 bytes"));
  EXPECT_THAT(error_of(GgufWriter().tensor("t", 0, {1}, data, uint64_t{1} << 63).bytes()),
              HasSubstr("do not lie"));
  EXPECT_THAT(error_of(GgufWriter().tensor("t", 0, {1}, data, 4).bytes()),
              HasSubstr("offset 4 is no multiple of the alignment 32"));
  EXPECT_THAT(error_of(GgufWriter().tensor("a", 0, {16}, data).tensor("b", 0, {1}, "", 32).bytes()),
              HasSubstr("tensor b at offset 32 overlaps tensor a, which ends at 64"));
  EXPECT_THAT(error_of(GgufWriter().tensor("t", 0, {1, 1, 1, 1, 1}, data).bytes()),
              HasSubstr("5 dimensions, at most 4"));
  EXPECT_THAT(
      error_of(GgufWriter().tensor("t", 0, {uint64_t{1} << 40, uint64_t{1} << 40}, data).bytes()),
      HasSubstr("overflows"));
  EXPECT_THAT(error_of(GgufWriter().tensor("t", 0, {uint64_t{1} << 62}, data).bytes()),
              HasSubstr("overflows"));
  EXPECT_THAT(error_of(GgufWriter().tensor("t", 8, {2, 33}, data).bytes()),
              HasSubstr("rows of 33 values are no multiple of Q8_0's block of 32"));
}

TEST(Gguf, alignment_is_taken_from_the_file_and_checked) {
  GgufWriter writer;
  writer.alignment = 64;
  writer.u32("general.alignment", 64)
      .tensor("a", 0, {1}, float_bytes({1}))
      .tensor("b", 0, {1}, float_bytes({2}));
  const std::string bytes = writer.bytes();
  const auto file = GgufFile::parse(as_bytes(bytes), "f");
  ASSERT_TRUE(file.ok()) << file.error().message;
  float value = 0;
  dequantize_rows(*file->tensor(*file->find_tensor("b")), 0, 1, &value);
  EXPECT_EQ(value, 2.0f);
  EXPECT_THAT(error_of(GgufWriter().u32("general.alignment", 48).bytes()),
              HasSubstr("power of two, found 48"));
  EXPECT_THAT(error_of(GgufWriter().u32("general.alignment", 0).bytes()),
              HasSubstr("between 1 and"));
}

TEST(Gguf, every_truncation_is_refused_and_no_flipped_byte_crashes) {
  GgufWriter writer = sample();
  const std::string bytes = writer.bytes();
  // The last tensor's type is unknown: only its beginning is checked, its 8 bytes are not missed.
  for (size_t size = 0; size + 8 < bytes.size(); ++size) {
    EXPECT_NE(error_of(bytes.substr(0, size)), "no error") << size;
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int flip : {1, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      const auto file = GgufFile::parse(as_bytes(changed), "f");
      if (!file) continue;
      for (const GgufTensor& tensor : file->tensors()) {
        if (const auto view = file->tensor(tensor)) (void)check_finite(*view).ok();
      }
      for (const auto& [key, value] : file->metadata()) (void)file->strings(key).ok();
    }
  }
}

TEST(Gguf, vocabulary_files_of_real_tokenizers_are_read) {
  const auto tokenizers = shared_path("tokenizers");
  if (!std::filesystem::exists(tokenizers)) GTEST_SKIP() << tokenizers << " is not here";
  const auto gpt2 = GgufFile::open(tokenizers / "ggml-vocab-gpt-2.gguf");
  ASSERT_TRUE(gpt2.ok()) << gpt2.error().message;
  EXPECT_EQ(gpt2->strings("tokenizer.ggml.tokens")->size(), 50257u);
  EXPECT_EQ(gpt2->strings("tokenizer.ggml.merges")->size(), 50000u);
  EXPECT_EQ(*gpt2->string("tokenizer.ggml.model"), "gpt2");
  const auto llama = GgufFile::open(tokenizers / "ggml-vocab-llama-spm.gguf");
  ASSERT_TRUE(llama.ok()) << llama.error().message;
  EXPECT_EQ(llama->strings("tokenizer.ggml.tokens")->size(), 32000u);
  EXPECT_EQ(llama->numbers("tokenizer.ggml.scores")->size(), 32000u);
  EXPECT_EQ(llama->integers("tokenizer.ggml.token_type")->size(), 32000u);
}

}  // namespace
}  // namespace skvis
