// SPDX-License-Identifier: Apache-2.0
// The words of the kernels: layouts of a sealed page's blocks and one parameter struct per family.
//
// One product serves keys and values:
//
//   out[row][lane] += sum over k of x[row][k] * matrix[k][lane]
//
// For keys a lane is a token and k a channel; for values a lane is a channel and k a token. Lanes
// are cut into tiles of 16 (the last may have 8: head sizes are multiples of 8), and a block is
// read strictly from front to back:
//
//   exact   [tile][k][16 lanes] elements
//   int8    [tile][k / 4][16 lanes][4 k] bytes
//   int4    [tile][k / 8][16 lanes][4 k] bytes: the low nibbles are the codes of k..k+3, the high
//           nibbles those of k+4..k+7
//
// A last tile of 8 lanes has 8 where the others have 16. The kernels know no threads, allocate
// nothing and decide nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/half.hpp"

namespace skvis::kernels {

inline constexpr size_t kTileLanes = 16;
inline constexpr size_t kLaneMultiple = 8;    // lanes of a block and channels of a row
inline constexpr size_t kMaxRows = 8;         // query rows per call: a GQA group, or a part of it
inline constexpr size_t kMaxCodeDepth = 256;  // beyond it 32-bit sums of 8-bit codes could overflow

enum class ElementType : uint8_t { f32, f16, bf16 };
inline constexpr size_t kElementTypes = 3;
inline constexpr size_t element_bytes(ElementType type) {
  return type == ElementType::f32 ? 4 : 2;
}

enum class CodeBits : uint8_t { eight, four };
inline constexpr size_t kCodeBits = 2;

// Lanes of the tile that begins at `first_lane`: 16, or 8 at the end.
inline constexpr size_t tile_width(size_t lanes, size_t first_lane) {
  return lanes - first_lane < kTileLanes ? lanes - first_lane : kTileLanes;
}

// Where an element or code lies in its block. `lanes` and `depth` are those of the whole block.
inline constexpr size_t exact_index(size_t lanes, size_t depth, size_t lane, size_t k) {
  const size_t first = lane / kTileLanes * kTileLanes;
  return first * depth + k * tile_width(lanes, first) + (lane - first);
}
inline constexpr size_t int8_index(size_t lanes, size_t depth, size_t lane, size_t k) {
  const size_t first = lane / kTileLanes * kTileLanes;
  return first * depth + (k / 4 * tile_width(lanes, first) + (lane - first)) * 4 + k % 4;
}
// The byte; the code is its high nibble when k % 8 >= 4.
inline constexpr size_t int4_index(size_t lanes, size_t depth, size_t lane, size_t k) {
  const size_t first = lane / kTileLanes * kTileLanes;
  return first * depth / 2 + (k / 8 * tile_width(lanes, first) + (lane - first)) * 4 + k % 4;
}

// Product with exact elements. `lanes` a multiple of 8.
struct ExactProduct {
  const void* matrix;  // sealed layout, or rows [depth][row_stride] where row_stride is not 0
  size_t lanes;
  size_t depth;
  size_t row_stride;  // 0: sealed layout; else elements from k to k + 1 (an open page's values)
  const float* x;     // [rows][x_stride], the first `depth` of each row are read
  size_t x_stride;
  size_t rows;  // 1..8
  float* out;   // [rows][out_stride]
  size_t out_stride;
  bool add;              // out += product instead of out = product
  const void* prefetch;  // a block of the same size that is read soon, or null
};

// Dot products with rows as they lie in an open page. `depth` a multiple of 8.
struct RowDots {
  const void* matrix;  // [tokens][row_stride] elements
  size_t tokens;
  size_t depth;
  size_t row_stride;
  const float* x;  // [rows][x_stride]
  size_t x_stride;
  size_t rows;  // 1..8
  float* out;   // [rows][out_stride]: out[row][token] = x[row] . matrix[token]
  size_t out_stride;
};

// Rows become columns: to[column][row] = from[row][column].
struct Transposition {
  const float* from;  // [rows][from_stride]
  size_t from_stride;
  size_t rows;
  size_t columns;
  float* to;  // [columns][to_stride], the first `rows` of each are written
  size_t to_stride;
};

// The rows x of a code product, prepared by quantise_query or quantise_weights of the SAME table.
// At the scalar level a row is `depth` floats. Elsewhere it holds integers, x = scale * n with
// |n| <= 32512; for every four k, as 16-bit integers and as the bytes of n = 256 h + l:
//
//   i16 n0 n2 n1 n3 | i8 h0 h1 h2 h3 | i8 l0 l1 l2 l3
//
// Eight bits do not do, for queries or weights: with peaked softmaxes, and with channels far from
// zero in all tokens, their error exceeds a tenth of that of 4-bit codes.
struct PreparedRows {
  void* data;       // [rows] of prepared_row_bytes(depth), 4-byte aligned
  float* scale;     // [rows]
  float* constant;  // [rows]: what multiplies a lane's minimum, or is added to every lane
};
inline constexpr size_t prepared_row_bytes(size_t depth) {
  return 4 * depth;
}
inline constexpr int kWideMax = 32512;  // 127 * 256: high and low both fit a signed byte

// Product with codes c of tokens whose value is c * scale + minimum.
//   code_dot (lanes are tokens):           out  = x.scale * sum(n c) * scale[lane]
//                                                 + x.constant * minimum[lane]
//   code_accumulate (lanes are channels):  out += x.scale * sum(n c) + x.constant
struct CodeProduct {
  const uint8_t* codes;
  size_t lanes;         // multiple of 8
  size_t depth;         // multiple of 8, at most kMaxCodeDepth
  const Half* scale;    // [lanes], code_dot only
  const Half* minimum;  // [lanes], code_dot only
  PreparedRows x;
  size_t rows;  // 1..8
  float* out;   // [rows][out_stride]
  size_t out_stride;
  const void* prefetch;  // a block of the same size that is read soon, or null
};

inline constexpr float top_code(CodeBits bits) {
  return bits == CodeBits::eight ? 255 : 15;
}

// Query rows for code_dot: constant = sum of the values as prepared.
struct QuantiseQuery {
  const float* x;  // [rows][x_stride]
  size_t x_stride;
  size_t depth;  // multiple of 8
  size_t rows;
  PreparedRows out;
};

// Softmax weights p for code_accumulate: the value prepared for token t is w[t] = p[t] * scale[t].
// Rounding w[t] to x.scale * n[t] is an error of all channels together, as large as the codes are
// far from zero. So codes are counted from a centre: the code of the value 0 where there is one,
// else the middle code; what the centre stands for is exact:
//   constant = sum(p[t] * (minimum[t] + centre[t] * scale[t])) - x.scale * sum(n[t] * centre[t])
struct QuantiseWeights {
  CodeBits bits;
  const float* p;  // [rows][p_stride], not negative
  size_t p_stride;
  size_t depth;         // tokens, multiple of 16
  size_t rows;          // 1..8
  const Half* scale;    // [depth], not negative
  const Half* minimum;  // [depth]
  PreparedRows out;
};

// One step of softmax in parts, for the rows of one call: logits become weights
// exp(logit - maximum), 0 where the logit is -infinity; maximum, the largest logit seen so far, and
// sum, of all weights, are brought up to date.
struct SoftmaxRows {
  float* logits;  // [rows][stride]
  size_t stride;
  size_t count;    // of each row, any
  size_t rows;     // 1..8
  float* maximum;  // [rows], -infinity before the first step
  float* sum;      // [rows]
  float* factor;  // [rows]: what the weights of earlier steps are to be multiplied by, 1 if nothing
};

}  // namespace skvis::kernels
