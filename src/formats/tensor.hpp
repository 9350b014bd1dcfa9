// SPDX-License-Identifier: Apache-2.0
// A tensor as it lies in a model file: a name, a number format, a shape and its bytes, which belong
// to the mapped file. Rows are read through the functions below, which undo what the file format
// did to them: block quantization, and the row order of q and k in llama GGUF files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace skvis {

enum class DType : uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1 };

std::string_view dtype_name(DType dtype);

// Elements and bytes of one block: 1 element for the float formats, 32 for the quantized ones.
size_t block_elements(DType dtype);
size_t block_bytes(DType dtype);

// Bytes of `elements` values; nothing when they are no whole number of blocks or overflow.
std::optional<size_t> bytes_for(DType dtype, size_t elements);

// The product of a shape; nothing when it overflows. An empty shape is a scalar: 1.
std::optional<size_t> shape_elements(std::span<const size_t> shape);

// "[64, 576]"
std::string shape_text(std::span<const size_t> shape);

struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<size_t> shape;        // outermost first, row-major
  std::span<const std::byte> data;  // as stored; NOT necessarily aligned; length matches the shape
  // 0, or the head_dim of a q / k projection whose rows a llama GGUF stores in the order of
  // interleaved rotary embedding. row_bytes() and dequantize_rows() undo it; `data` does not.
  size_t interleaved_head_dim = 0;

  // Width of a row (the last dimension), and number of rows (the product of the others, 1 for a
  // vector).
  size_t columns() const { return shape.empty() ? 1 : shape.back(); }
  size_t rows() const;
};

// Bytes of one row of a matrix, in the row order of Hugging Face files. Refuses nothing: row must
// be < rows(). Not for a vector with interleaved_head_dim (its elements are permuted: dequantize
// it).
std::span<const std::byte> row_bytes(const TensorView& tensor, size_t row);

// Rows [first_row, first_row + rows) as floats to out[rows * columns()], in the row order of
// Hugging Face files. Exact for the float formats; scale * code (+ minimum) in float for the
// others.
void dequantize_rows(const TensorView& tensor, size_t first_row, size_t rows, float* out);

// An error naming the tensor and the first element that is NaN or infinite.
Result<void> check_finite(const TensorView& tensor);

// An error naming tensor, expected and found shape, unless the shape is the expected one.
Result<void> check_shape(const TensorView& tensor, std::span<const size_t> expected,
                         std::string_view file);

}  // namespace skvis
