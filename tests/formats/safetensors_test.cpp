// SPDX-License-Identifier: Apache-2.0
#include "formats/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.hpp"
#include "files.hpp"
#include "formats/gguf_writer.hpp"

namespace skvis {
namespace {

using ::testing::HasSubstr;

std::string file_of(std::string_view header, size_t data_bytes) {
  std::string file;
  put_text(file, header);
  file.resize(file.size() + data_bytes, '\1');
  return file;
}

std::string error_of(const std::string& file) {
  const auto result = parse_safetensors(as_bytes(file), "f");
  return result ? "no error" : result.error().message;
}

TEST(Safetensors, header_gives_names_shapes_data_and_metadata) {
  const std::string file = file_of(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[8,20]},)"
      R"("a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}  )",
      20);
  const auto header = parse_safetensors(as_bytes(file), "f");
  ASSERT_TRUE(header.ok()) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].name, "a");
  EXPECT_EQ(header->tensors[1].name, "b");
  EXPECT_EQ(header->tensors[1].shape, (std::vector<size_t>{2, 3}));
  EXPECT_EQ(header->tensors[1].data.size(), 12u);
  EXPECT_EQ(header->tensors[1].data.data(), as_bytes(file).data() + file.size() - 12);
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_TRUE(to_tensor(header->tensors[1], "f").ok());
  const auto unreadable = to_tensor(header->tensors[0], "f");
  ASSERT_FALSE(unreadable.ok());
  EXPECT_EQ(unreadable.error().message, "f: tensor a has dtype I64, expected F32, F16 or BF16");
}

TEST(Safetensors, truncated_and_lying_lengths_are_refused) {
  EXPECT_THAT(error_of("short"), HasSubstr("5 bytes, too short"));
  std::string file;
  put<uint64_t>(file, 1000);
  EXPECT_THAT(error_of(file + "{}"), HasSubstr("header length is 1000, but only 2 bytes follow"));
  file.clear();
  put<uint64_t>(file, ~uint64_t{0});
  EXPECT_THAT(error_of(file + "{}"), HasSubstr("header length is 18446744073709551615, at most"));
}

TEST(Safetensors, every_malformed_header_gets_its_own_message) {
  const auto tensor = [](std::string_view body) { return fmt::format(R"({{"t":{{{}}}}})", body); };
  const std::pair<std::string, std::string> cases[] = {
      {"[]", "expected an object, found an array"},
      {"{", "not valid JSON"},
      {"{} x", "not valid JSON"},
      {R"({"t":3})", "'t': unexpected a number"},
      {tensor(R"("shape":[2],"data_offsets":[0,8])"), "tensor t: 'dtype' is missing"},
      {tensor(R"("dtype":"F32","data_offsets":[0,8])"), "tensor t: 'shape' is missing"},
      {tensor(R"("dtype":"F32","shape":[2])"), "'data_offsets' must hold two numbers, found 0"},
      {tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), "two numbers, found 1"},
      {tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,9])"), "more than two numbers"},
      {tensor(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "sizes, found -2"},
      {tensor(R"("dtype":"F32","shape":[2.5],"data_offsets":[0,8])"), "whole numbers, found 2.5"},
      {tensor(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), "unexpected an array"},
      {tensor(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8])"),
       "more than 8 dimensions"},
      {tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
       "shape [3] in F32 does not match data_offsets [0, 8], 8 bytes"},
      {tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "do not lie in the 8 bytes"},
      {tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), "do not lie in the 8 bytes"},
      {tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"),
       "shape [4294967296, 4294967296] overflows"},
      {tensor(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,8])"),
       "does not match"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "end at byte 4 of the data"},
      {tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), "belong to no tensor"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       "names 't' twice"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("u":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "tensor u begins at byte 4, inside another that ends at 8"},
      {R"({"__metadata__":{"a":1}})", "unexpected a number"},
  };
  for (const auto& [header, expected] : cases) {
    const std::string message = error_of(file_of(header, 8));
    EXPECT_THAT(message, HasSubstr(expected)) << header;
    EXPECT_EQ(message.substr(0, 3), "f: ") << header;
  }
}

TEST(Safetensors, a_header_of_many_names_is_read_in_no_time) {
  std::string header = "{";
  for (int i = 0; i < 200'000; ++i) {
    header += fmt::format(R"("{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}},)", i);
  }
  header.back() = '}';
  const std::string file = file_of(header, 0);
  const auto result = parse_safetensors(as_bytes(file), "f");
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->tensors.size(), 200'000u);
}

TEST(Safetensors, every_truncation_of_a_real_file_is_refused) {
  const auto content = read_file(golden("llama-tied") / "model.safetensors");
  ASSERT_TRUE(content.ok());
  ASSERT_EQ(error_of(*content), "no error");
  for (size_t size = 0; size < content->size(); size += 997) {
    EXPECT_NE(error_of(content->substr(0, size)), "no error") << size;
  }
  EXPECT_THAT(error_of(*content + "x"), HasSubstr("tensors end at byte"));
}

TEST(Safetensors, written_files_are_read_back) {
  const TempFolder folder;
  const std::string first = float_bytes({1, 2, 3, 4, 5, 6});
  const std::string second("\1\2\3\4", 4);
  const std::vector<TensorView> tensors = {
      {.name = "z", .dtype = DType::kF32, .shape = {2, 3}, .data = as_bytes(first)},
      {.name = "a", .dtype = DType::kBF16, .shape = {2}, .data = as_bytes(second)}};
  const auto path = folder.path() / "m.safetensors";
  ASSERT_TRUE(write_safetensors(path, tensors, {{"format", "pt"}}).ok());
  const auto content = read_file(path);
  ASSERT_TRUE(content.ok());
  const auto header = parse_safetensors(as_bytes(*content), "f");
  ASSERT_TRUE(header.ok()) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].name, "z");
  EXPECT_EQ(header->tensors[1].dtype, "BF16");
  EXPECT_EQ(std::memcmp(header->tensors[0].data.data(), first.data(), first.size()), 0);
  EXPECT_EQ(std::memcmp(header->tensors[1].data.data(), second.data(), second.size()), 0);
  EXPECT_EQ(header->metadata.at("format"), "pt");
}

TEST(Safetensors, writer_refuses_a_shape_that_does_not_fit_the_data) {
  const TempFolder folder;
  const std::string data = float_bytes({1, 2});
  const std::vector<TensorView> tensors = {
      {.name = "t", .dtype = DType::kF32, .shape = {3}, .data = as_bytes(data)}};
  const auto result = write_safetensors(folder.path() / "m.safetensors", tensors);
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("tensor t: 8 bytes of F32"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, index_refuses_names_that_leave_the_folder) {
  const auto good = parse_safetensors_index(R"({"weight_map":{"a":"x","b":"y"}})", "i");
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->at("b"), "y");
  for (const std::string file : {"../x", "/etc/passwd", "..", "", "a/b"}) {
    const auto bad =
        parse_safetensors_index(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", file), "i");
    ASSERT_FALSE(bad.ok()) << file;
    EXPECT_THAT(bad.error().message, HasSubstr("must be a file of this folder"));
  }
  for (const std::string text : {"{}", "[]", R"({"weight_map":{}})", R"({"weight_map":{"a":1}})"}) {
    EXPECT_FALSE(parse_safetensors_index(text, "i").ok()) << text;
  }
}

}  // namespace
}  // namespace skvis
