// SPDX-License-Identifier: Apache-2.0
#include "formats/tensor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "formats/gguf_writer.hpp"

namespace skvis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TensorView view(DType dtype, std::vector<size_t> shape, const std::string& bytes) {
  return {.name = "t", .dtype = dtype, .shape = std::move(shape), .data = as_bytes(bytes)};
}

std::vector<float> all_rows(const TensorView& tensor) {
  std::vector<float> out(tensor.rows() * tensor.columns());
  dequantize_rows(tensor, 0, tensor.rows(), out.data());
  return out;
}

TEST(Tensor, sizes_of_formats_follow_their_blocks) {
  EXPECT_EQ(bytes_for(DType::kF32, 3), 12u);
  EXPECT_EQ(bytes_for(DType::kBF16, 3), 6u);
  EXPECT_EQ(bytes_for(DType::kQ8_0, 64), 68u);
  EXPECT_EQ(bytes_for(DType::kQ4_0, 64), 36u);
  EXPECT_EQ(bytes_for(DType::kQ4_1, 64), 40u);
  EXPECT_EQ(bytes_for(DType::kQ4_1, 33), std::nullopt);
  EXPECT_EQ(bytes_for(DType::kF32, std::numeric_limits<size_t>::max() / 2), std::nullopt);
}

TEST(Tensor, product_of_a_shape_notices_overflow) {
  EXPECT_EQ(shape_elements(std::vector<size_t>{}), 1u);
  EXPECT_EQ(shape_elements(std::vector<size_t>{3, 4, 5}), 60u);
  EXPECT_EQ(shape_elements(std::vector<size_t>{size_t{1} << 33, size_t{1} << 33}), std::nullopt);
}

TEST(Tensor, float_formats_are_read_exactly_and_unaligned) {
  const std::string f32 = "x" + float_bytes({1.5f, -2.25f, 1e-40f, 3e38f});
  TensorView tensor = view(DType::kF32, {2, 2}, f32);
  tensor.data = tensor.data.subspan(1);
  EXPECT_THAT(all_rows(tensor), ElementsAre(1.5f, -2.25f, 1e-40f, 3e38f));

  std::string f16 = "x", bf16 = "x";
  for (const float value : {1.5f, -0.0999755859375f}) put(f16, to_half(value).bits);
  for (const float value : {-3.0f, 0.15625f}) put(bf16, to_bfloat16(value).bits);
  tensor = view(DType::kF16, {2}, f16);
  tensor.data = tensor.data.subspan(1);
  EXPECT_THAT(all_rows(tensor), ElementsAre(1.5f, -0.0999755859375f));
  tensor = view(DType::kBF16, {1, 2}, bf16);
  tensor.data = tensor.data.subspan(1);
  EXPECT_THAT(all_rows(tensor), ElementsAre(-3.0f, 0.15625f));
}

// Blocks written by hand from the layouts in ggml, not by the writer that other tests use.
TEST(Tensor, q8_0_blocks_are_scale_times_code) {
  std::string block;
  put(block, to_half(0.5f).bits);
  for (int i = 0; i < 32; ++i) put(block, static_cast<int8_t>(i * 8 - 128));
  const std::vector<float> values = all_rows(view(DType::kQ8_0, {32}, block));
  for (int i = 0; i < 32; ++i) EXPECT_EQ(values[i], 0.5f * static_cast<float>(i * 8 - 128)) << i;
}

TEST(Tensor, q4_blocks_keep_the_second_half_in_the_high_bits) {
  std::string q4_0, q4_1;
  put(q4_0, to_half(2.0f).bits);
  put(q4_1, to_half(2.0f).bits);
  put(q4_1, to_half(-7.5f).bits);
  for (int i = 0; i < 16; ++i) {
    const auto codes = static_cast<uint8_t>(i | (15 - i) << 4);
    put(q4_0, codes);
    put(q4_1, codes);
  }
  const std::vector<float> zero = all_rows(view(DType::kQ4_0, {32}, q4_0));
  const std::vector<float> one = all_rows(view(DType::kQ4_1, {32}, q4_1));
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(zero[i], 2.0f * static_cast<float>(i - 8)) << i;
    EXPECT_EQ(zero[i + 16], 2.0f * static_cast<float>(15 - i - 8)) << i;
    EXPECT_EQ(one[i], 2.0f * static_cast<float>(i) - 7.5f) << i;
    EXPECT_EQ(one[i + 16], 2.0f * static_cast<float>(15 - i) - 7.5f) << i;
  }
}

TEST(Tensor, any_run_of_rows_equals_the_same_rows_of_the_whole) {
  std::vector<float> values(5 * 64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    const std::string bytes = quantize(dtype, values);
    const TensorView tensor = view(dtype, {5, 64}, bytes);
    const std::vector<float> whole = all_rows(tensor);
    std::vector<float> part(2 * 64);
    dequantize_rows(tensor, 2, 2, part.data());
    for (size_t i = 0; i < part.size(); ++i) EXPECT_EQ(part[i], whole[2 * 64 + i]);
    const float step = dtype == DType::kQ8_0 ? 1.0f / 127 : 1.0f / 7;
    for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(whole[i], values[i], 0.51f * step);
  }
}

TEST(Tensor, interleaved_rows_come_back_in_half_split_order) {
  // Two heads of dimension 8: stored row 2j + p of a head is row p * 4 + j of the original.
  std::vector<float> stored(16 * 2);
  for (size_t head = 0; head < 2; ++head) {
    for (size_t j = 0; j < 4; ++j) {
      for (size_t p = 0; p < 2; ++p) {
        const float original = static_cast<float>(head * 8 + p * 4 + j);
        stored[(head * 8 + 2 * j + p) * 2] = original;
        stored[(head * 8 + 2 * j + p) * 2 + 1] = -original;
      }
    }
  }
  const std::string bytes = float_bytes(stored);
  TensorView tensor = view(DType::kF32, {16, 2}, bytes);
  tensor.interleaved_head_dim = 8;
  const std::vector<float> rows = all_rows(tensor);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(rows[2 * i], static_cast<float>(i));
    EXPECT_EQ(rows[2 * i + 1], -static_cast<float>(i));
    float first = 0;
    std::memcpy(&first, row_bytes(tensor, i).data(), 4);
    EXPECT_EQ(first, static_cast<float>(i));
  }
}

TEST(Tensor, elements_of_an_interleaved_bias_come_back_in_half_split_order) {
  const std::string bytes = float_bytes({0, 4, 1, 5, 2, 6, 3, 7});
  TensorView tensor = view(DType::kF32, {8}, bytes);
  tensor.interleaved_head_dim = 8;
  EXPECT_THAT(all_rows(tensor), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(Tensor, check_finite_takes_no_memory_for_columns_of_no_rows) {
  EXPECT_TRUE(check_finite(view(DType::kF32, {0, size_t{1} << 62}, {})).ok());
}

TEST(Tensor, check_finite_names_the_first_bad_element) {
  const std::string good = float_bytes({1, 2, 3, 4});
  EXPECT_TRUE(check_finite(view(DType::kF32, {2, 2}, good)).ok());
  const std::string bad = float_bytes({1, 2, 3, std::nanf("")});
  const auto result = check_finite(view(DType::kF32, {2, 2}, bad));
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("tensor t: element (1, 1) is nan"));
  std::string block;
  put(block, to_half(INFINITY).bits);
  block.resize(34, '\1');
  EXPECT_FALSE(check_finite(view(DType::kQ8_0, {32}, block)).ok());
}

TEST(Tensor, check_shape_names_both_shapes) {
  const std::string bytes = float_bytes({1, 2, 3, 4});
  const TensorView tensor = view(DType::kF32, {2, 2}, bytes);
  EXPECT_TRUE(check_shape(tensor, std::vector<size_t>{2, 2}, "f").ok());
  const auto result = check_shape(tensor, std::vector<size_t>{4}, "f");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "f: tensor t has shape [2, 2], expected [4]");
}

}  // namespace
}  // namespace skvis
