// SPDX-License-Identifier: Apache-2.0
// The phases of the exact codes f32, f16 and bf16, which differ in their element alone.
//
//   block   [tile][k][16 lanes] elements (kernels/params.hpp)
//           keys: a lane is a slot and k a channel; values: a lane is a channel and k a slot
//
// Sealed exact keys lie by lanes of tokens too: a row-major dot product pays a horizontal sum per
// token and query head.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

#include "codecs/codec.hpp"
#include "kernels/table.hpp"

namespace skvis {

template <typename Element, kernels::ElementType kType>
struct ExactPhases {
  static size_t lanes(const BlockContext& context) {
    return context.role == Role::key ? context.slots : context.head_dim;
  }
  static size_t depth(const BlockContext& context) {
    return context.role == Role::key ? context.head_dim : context.slots;
  }
  // Calls f(channel, index) for every element of a slot.
  template <typename F>
  static void for_elements(const BlockContext& context, size_t slot, F f) {
    const size_t all = lanes(context);
    if (context.role == Role::key) {
      const size_t first = slot / kernels::kTileLanes * kernels::kTileLanes;
      const size_t width = kernels::tile_width(all, first);
      size_t index = first * context.head_dim + (slot - first);
      for (size_t channel = 0; channel < context.head_dim; ++channel, index += width) {
        f(channel, index);
      }
    } else {
      for (size_t first = 0; first < all; first += kernels::kTileLanes) {
        const size_t width = kernels::tile_width(all, first);
        const size_t index = first * context.slots + slot * width;
        for (size_t i = 0; i < width; ++i) f(first + i, index + i);
      }
    }
  }

  // Infinity and NaN have an exponent of ones.
  static bool is_finite(const Element* row, size_t count) {
    using Bits = std::conditional_t<sizeof(Element) == 4, uint32_t, uint16_t>;
    constexpr Bits kExponent = kType == kernels::ElementType::f32   ? 0x7f800000
                               : kType == kernels::ElementType::f16 ? 0x7c00
                                                                    : 0x7f80;
    bool finite = true;
    for (size_t i = 0; i < count; ++i) {
      finite &= (std::bit_cast<Bits>(row[i]) & kExponent) != kExponent;
    }
    return finite;
  }

  static Result<void> supports(const BlockContext& context) {
    if (context.head_dim > 0 && context.head_dim % kernels::kLaneMultiple == 0 &&
        context.head_dim <= kMaxHeadDim) {
      return {};
    }
    return fail("head size {} is not supported: a multiple of {} up to {} is", context.head_dim,
                kernels::kLaneMultiple, kMaxHeadDim);
  }
  static size_t block_bytes(const BlockContext& context) {
    return size_t{context.slots} * context.head_dim * sizeof(Element);
  }

  static bool encode(const BlockContext& context, RowsView rows, uint32_t first_slot,
                     std::byte* block) {
    const auto& store = kernels::active_kernels().store_elements[static_cast<size_t>(kType)];
    auto* elements = reinterpret_cast<Element*>(block);
    if (context.role == Role::key) return encode_keys(context, rows, first_slot, elements);
    std::array<Element, kMaxHeadDim> row;
    for (size_t i = 0; i < rows.rows; ++i) {
      store(rows.row(i), context.head_dim, row.data());
      if (!is_finite(row.data(), context.head_dim)) return false;
      for_elements(context, first_slot + i,
                   [&](size_t channel, size_t index) { elements[index] = row[channel]; });
    }
    return true;
  }
  // Rows of one tile of lanes are turned together: a row alone would touch every line of the tile.
  static bool encode_keys(const BlockContext& context, RowsView rows, uint32_t first_slot,
                          Element* elements) {
    const kernels::Kernels& kernels = kernels::active_kernels();
    std::array<float, kMaxHeadDim * kernels::kTileLanes> turned;
    std::array<Element, kMaxHeadDim * kernels::kTileLanes> stored;
    for (size_t i = 0; i < rows.rows;) {
      const size_t slot = first_slot + i;
      const size_t tile = slot / kernels::kTileLanes * kernels::kTileLanes;
      const size_t width = kernels::tile_width(context.slots, tile);
      const size_t count = std::min(rows.rows - i, tile + width - slot);
      kernels.transpose({.from = rows.row(i),
                         .from_stride = rows.stride,
                         .rows = count,
                         .columns = context.head_dim,
                         .to = turned.data(),
                         .to_stride = count});
      kernels.store_elements[static_cast<size_t>(kType)](turned.data(), count * context.head_dim,
                                                         stored.data());
      if (!is_finite(stored.data(), count * context.head_dim)) return false;
      Element* to = elements + tile * context.head_dim + (slot - tile);
      for (size_t channel = 0; channel < context.head_dim; ++channel) {
        std::copy_n(stored.data() + channel * count, count, to + channel * width);
      }
      i += count;
    }
    return true;
  }
  static void decode(const BlockContext& context, const std::byte* block, uint32_t first_slot,
                     uint32_t count, float* rows) {
    const auto& load = kernels::active_kernels().load_elements[static_cast<size_t>(kType)];
    const auto* elements = reinterpret_cast<const Element*>(block);
    std::array<Element, kMaxHeadDim> row;
    for (size_t i = 0; i < count; ++i) {
      for_elements(context, first_slot + i,
                   [&](size_t channel, size_t index) { row[channel] = elements[index]; });
      load(row.data(), context.head_dim, rows + i * context.head_dim);
    }
  }
  static void expand(const BlockContext& context, const std::byte* block, float* elements) {
    kernels::active_kernels().load_elements[static_cast<size_t>(kType)](
        block, size_t{context.slots} * context.head_dim, elements);
  }
  static void copy_slot(const BlockContext& from_context, const std::byte* from, uint32_t from_slot,
                        const BlockContext& to_context, std::byte* to, uint32_t to_slot) {
    const auto* source = reinterpret_cast<const Element*>(from);
    auto* target = reinterpret_cast<Element*>(to);
    std::array<Element, kMaxHeadDim> row;
    for_elements(from_context, from_slot,
                 [&](size_t channel, size_t index) { row[channel] = source[index]; });
    for_elements(to_context, to_slot,
                 [&](size_t channel, size_t index) { target[index] = row[channel]; });
  }
  static Result<void> validate(const BlockContext& context, std::span<const std::byte> block) {
    if (block.size() != block_bytes(context)) {
      return fail("block of {} bytes, expected {}", block.size(), block_bytes(context));
    }
    for (size_t i = 0; i < block.size() / sizeof(Element); ++i) {
      Element element;
      std::memcpy(&element, block.data() + i * sizeof element, sizeof element);
      if (!is_finite(&element, 1)) return fail("element {} of the block is not finite", i);
    }
    return {};
  }

  static size_t query_bytes(const BlockContext& context, uint32_t rows) {
    return size_t{rows} * context.head_dim * sizeof(float);
  }
  static void prepare_query(const BlockContext& context, const float* q, uint32_t rows,
                            std::byte* query) {
    std::memcpy(query, q, query_bytes(context, rows));
  }
  static void score(const BlockContext& context, const std::byte* block, const std::byte* query,
                    uint32_t rows, float* logits, const std::byte* ahead) {
    multiply(context, block, reinterpret_cast<const float*>(query), rows, logits, false, ahead);
  }
  static void accumulate(const BlockContext& context, const std::byte* block, const float* weights,
                         uint32_t rows, float* accumulator, const std::byte* ahead) {
    multiply(context, block, weights, rows, accumulator, true, ahead);
  }

  static void multiply(const BlockContext& context, const std::byte* block, const float* x,
                       uint32_t rows, float* out, bool add, const std::byte* ahead) {
    const auto& kernel = kernels::active_kernels().exact_product[static_cast<size_t>(kType)];
    kernel({.matrix = block,
            .lanes = lanes(context),
            .depth = depth(context),
            .row_stride = 0,
            .x = x,
            .x_stride = depth(context),
            .rows = rows,
            .out = out,
            .out_stride = lanes(context),
            .add = add,
            .prefetch = ahead});
  }

  static constexpr Codec codec(std::string_view name) {
    return {.name = name,
            .exact = true,
            .nominal_bits = 8.0 * sizeof(Element),
            .supports = supports,
            .block_bytes = block_bytes,
            .encode = encode,
            .decode = decode,
            .expand = expand,
            .copy_slot = copy_slot,
            .validate = validate,
            .query_bytes = query_bytes,
            .prepare_query = prepare_query,
            .score = score,
            .accumulate = accumulate};
  }
};

}  // namespace skvis
