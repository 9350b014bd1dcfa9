// SPDX-License-Identifier: Apache-2.0
#include "formats/tensor.hpp"

#include <cassert>
#include <cmath>
#include <cstring>

#include "base/half.hpp"

namespace skvis {
namespace {

constexpr size_t kBlock = 32;  // elements of a quantized block, in all of ggml's simple formats

// Files promise no alignment.
template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

float load_half(const std::byte* from) {
  return to_float(Half{load<uint16_t>(from)});
}

// One block each; layouts as in ggml's block_q8_0, block_q4_0 and block_q4_1.

// [scale F16][32 x int8]
void decode_q8_0(const std::byte* block, float* out) {
  const float scale = load_half(block);
  for (size_t i = 0; i < kBlock; ++i) {
    out[i] = scale * static_cast<float>(load<int8_t>(block + 2 + i));
  }
}

// [scale F16][16 bytes]: byte i holds element i in its low and element i + 16 in its high half.
void decode_q4_0(const std::byte* block, float* out) {
  const float scale = load_half(block);
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const int codes = load<uint8_t>(block + 2 + i);
    out[i] = scale * static_cast<float>((codes & 15) - 8);
    out[i + kBlock / 2] = scale * static_cast<float>((codes >> 4) - 8);
  }
}

// [scale F16][minimum F16][16 bytes as above]
void decode_q4_1(const std::byte* block, float* out) {
  const float scale = load_half(block);
  const float minimum = load_half(block + 2);
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const int codes = load<uint8_t>(block + 4 + i);
    out[i] = scale * static_cast<float>(codes & 15) + minimum;
    out[i + kBlock / 2] = scale * static_cast<float>(codes >> 4) + minimum;
  }
}

// `elements` is a whole number of blocks.
void decode(DType dtype, const std::byte* data, size_t elements, float* out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, data, elements * sizeof(float));
      return;
    case DType::kF16:
      for (size_t i = 0; i < elements; ++i) out[i] = load_half(data + 2 * i);
      return;
    case DType::kBF16:
      for (size_t i = 0; i < elements; ++i) {
        out[i] = to_float(BFloat16{load<uint16_t>(data + 2 * i)});
      }
      return;
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ4_1: {
      const auto decode_block = dtype == DType::kQ8_0   ? decode_q8_0
                                : dtype == DType::kQ4_0 ? decode_q4_0
                                                        : decode_q4_1;
      const size_t bytes = block_bytes(dtype);
      for (size_t i = 0; i < elements / kBlock; ++i) {
        decode_block(data + i * bytes, out + i * kBlock);
      }
      return;
    }
  }
}

// Where a llama GGUF stores row `row` of a q or k projection. Within a head, Hugging Face pairs row
// i with row i + head_dim / 2 in the rotary embedding; the file pairs neighbours 2i and 2i + 1.
size_t stored_row(size_t row, size_t interleaved_head_dim) {
  if (interleaved_head_dim == 0) return row;
  const size_t half = interleaved_head_dim / 2;
  const size_t in_head = row % interleaved_head_dim;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

// The first value of `count` that is no number; `count` when all are.
size_t first_not_finite(const float* values, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) return i;
  }
  return count;
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kQ8_0:
      return "Q8_0";
    case DType::kQ4_0:
      return "Q4_0";
    case DType::kQ4_1:
      return "Q4_1";
  }
  return "?";
}

size_t block_elements(DType dtype) {
  return dtype <= DType::kBF16 ? 1 : kBlock;
}

size_t block_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kQ8_0:
      return 2 + kBlock;
    case DType::kQ4_0:
      return 2 + kBlock / 2;
    case DType::kQ4_1:
      return 4 + kBlock / 2;
  }
  return 0;
}

std::optional<size_t> bytes_for(DType dtype, size_t elements) {
  if (elements % block_elements(dtype) != 0) return std::nullopt;
  size_t bytes = 0;
  if (__builtin_mul_overflow(elements / block_elements(dtype), block_bytes(dtype), &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

std::optional<size_t> shape_elements(std::span<const size_t> shape) {
  size_t elements = 1;
  for (const size_t dimension : shape) {
    if (__builtin_mul_overflow(elements, dimension, &elements)) return std::nullopt;
  }
  return elements;
}

std::string shape_text(std::span<const size_t> shape) {
  std::string text = "[";
  for (const size_t dimension : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(dimension);
  }
  return text + "]";
}

size_t TensorView::rows() const {
  size_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

std::span<const std::byte> row_bytes(const TensorView& tensor, size_t row) {
  const size_t row_size = tensor.data.size() / tensor.rows();
  const size_t stored = stored_row(row, tensor.shape.size() > 1 ? tensor.interleaved_head_dim : 0);
  return tensor.data.subspan(stored * row_size, row_size);
}

void dequantize_rows(const TensorView& tensor, size_t first_row, size_t rows, float* out) {
  assert(first_row + rows <= tensor.rows());
  const size_t columns = tensor.columns();
  if (tensor.interleaved_head_dim == 0) {
    if (columns == 0 || rows == 0) return;
    const size_t row_size = tensor.data.size() / tensor.rows();
    return decode(tensor.dtype, tensor.data.data() + first_row * row_size, rows * columns, out);
  }
  if (tensor.shape.size() > 1) {
    for (size_t i = 0; i < rows; ++i) {
      decode(tensor.dtype, row_bytes(tensor, first_row + i).data(), columns, out + i * columns);
    }
    return;
  }
  std::vector<float> stored(columns);
  decode(tensor.dtype, tensor.data.data(), columns, stored.data());
  for (size_t i = 0; i < columns; ++i) {
    out[i] = stored[stored_row(i, tensor.interleaved_head_dim)];
  }
}

Result<void> check_finite(const TensorView& tensor) {
  const size_t columns = tensor.columns();
  // Without rows there is no data either, and the number of columns is only a claim.
  if (columns == 0 || tensor.rows() == 0) return {};
  std::vector<float> row(columns);
  for (size_t i = 0; i < tensor.rows(); ++i) {
    dequantize_rows(tensor, i, 1, row.data());
    const size_t column = first_not_finite(row.data(), columns);
    if (column < columns) {
      return fail("tensor {}: element ({}, {}) is {}, expected a finite number", tensor.name, i,
                  column, row[column]);
    }
  }
  return {};
}

Result<void> check_shape(const TensorView& tensor, std::span<const size_t> expected,
                         std::string_view file) {
  if (std::equal(tensor.shape.begin(), tensor.shape.end(), expected.begin(), expected.end())) {
    return {};
  }
  return fail("{}: tensor {} has shape {}, expected {}", file, tensor.name,
              shape_text(tensor.shape), shape_text(expected));
}

}  // namespace skvis
