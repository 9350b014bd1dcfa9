// SPDX-License-Identifier: Apache-2.0
// The phases of int8 and int4: every row of every head has its own scale and minimum ("token-wise
// asymmetric": SAW-INT4, 2026, section "Algorithm"; LMDeploy, vLLM per token and head).
//
//   block   codes    [tile][k / 4 or k / 8][16 lanes][4] bytes (kernels/params.hpp)
//           scale    [slots] F16
//           minimum  [slots] F16
//           keys: a lane is a slot and k a channel; values: a lane is a channel and k a slot
//
//   value = code * scale + minimum
//
// The minimum is stored and not the zero point: -min/scale loses precision, and overflows F16,
// where the range is small beside the mean. The minimum is rounded down, so that no value lies
// below it, and codes are chosen for the scale and minimum as they are stored.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/aligned.hpp"
#include "base/half.hpp"
#include "base/prefetch.hpp"
#include "codecs/codec.hpp"
#include "kernels/table.hpp"

namespace skvis {

struct AffineRow {
  Half scale{};
  Half minimum{};
};

// The largest half that is not above `value`.
inline Half half_not_above(float value) {
  Half half = to_half(value);
  if (to_float(half) > value) {
    // One step down: towards zero in magnitude for positive values, away from it for negative ones.
    half.bits = (half.bits & 0x8000u) != 0 ? half.bits + 1
                : half.bits == 0           ? uint16_t{0x8001}
                                           : half.bits - 1;
  }
  return half;
}

// Scale and minimum of a row; false when it is not finite or they are beyond F16.
inline bool fit_row(const float* row, size_t count, float top_code, AffineRow& fit) {
  float low = row[0];
  float high = row[0];
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(row[i])) return false;
    low = std::min(low, row[i]);
    high = std::max(high, row[i]);
  }
  fit.minimum = half_not_above(low);
  fit.scale = to_half((high - to_float(fit.minimum)) / top_code);
  return std::isfinite(to_float(fit.minimum)) && std::isfinite(to_float(fit.scale));
}

template <kernels::CodeBits kBits>
struct AffinePhases {
  static constexpr int kTopCode = kBits == kernels::CodeBits::eight ? 255 : 15;
  static constexpr size_t kCodesPerByte = kBits == kernels::CodeBits::eight ? 1 : 2;
  static constexpr size_t kBitsIndex = static_cast<size_t>(kBits);

  static size_t lanes(const BlockContext& context) {
    return context.role == Role::key ? context.slots : context.head_dim;
  }
  static size_t depth(const BlockContext& context) {
    return context.role == Role::key ? context.head_dim : context.slots;
  }
  static size_t code_bytes(const BlockContext& context) {
    return size_t{context.slots} * context.head_dim / kCodesPerByte;
  }
  static const Half* scales(const BlockContext& context, const std::byte* block) {
    return reinterpret_cast<const Half*>(block + code_bytes(context));
  }
  static const Half* minima(const BlockContext& context, const std::byte* block) {
    return scales(context, block) + context.slots;
  }

  // Calls f(channel, byte, shift) for every code of a slot: the byte of the block it lies in and
  // how far its bits are shifted there.
  template <typename F>
  static void for_codes(const BlockContext& context, size_t slot, F f) {
    constexpr size_t kTurn = 4 * kCodesPerByte;  // k per word of four bytes
    const size_t all = lanes(context);
    if (context.role == Role::key) {
      const size_t first = slot / kernels::kTileLanes * kernels::kTileLanes;
      const size_t width = kernels::tile_width(all, first);
      size_t word = first * context.head_dim / kCodesPerByte + (slot - first) * 4;
      for (size_t channel = 0; channel < context.head_dim; channel += kTurn, word += 4 * width) {
        for (size_t i = 0; i < 4; ++i) f(channel + i, word + i, 0);
        if constexpr (kCodesPerByte == 2) {
          for (size_t i = 0; i < 4; ++i) f(channel + 4 + i, word + i, 4);
        }
      }
    } else {
      const int shift = slot % kTurn >= 4 ? 4 : 0;
      for (size_t first = 0; first < all; first += kernels::kTileLanes) {
        const size_t width = kernels::tile_width(all, first);
        const size_t tile = first * context.slots / kCodesPerByte;
        const size_t byte = tile + slot / kTurn * width * 4 + slot % 4;
        for (size_t i = 0; i < width; ++i) f(first + i, byte + 4 * i, shift);
      }
    }
  }
  static int read(const std::byte* block, size_t byte, int shift) {
    return static_cast<int>(block[byte]) >> shift & kTopCode;
  }
  static void write(std::byte* block, size_t byte, int shift, int code) {
    const int others = static_cast<int>(block[byte]) & ~(kTopCode << shift);
    block[byte] = static_cast<std::byte>(others | code << shift);
  }

  static Result<void> supports(const BlockContext& context) {
    if (context.head_dim > 0 && context.head_dim % kernels::kLaneMultiple == 0 &&
        context.head_dim <= kernels::kMaxCodeDepth) {
      return {};
    }
    return fail("head size {} is not supported: a multiple of {} up to {} is", context.head_dim,
                kernels::kLaneMultiple, kernels::kMaxCodeDepth);
  }
  static size_t block_bytes(const BlockContext& context) {
    return code_bytes(context) + 2 * sizeof(Half) * context.slots;
  }

  static bool encode(const BlockContext& context, RowsView rows, uint32_t first_slot,
                     std::byte* block) {
    auto* scale = const_cast<Half*>(scales(context, block));
    auto* minimum = const_cast<Half*>(minima(context, block));
    for (size_t row = 0; row < rows.rows; ++row) {
      const size_t slot = first_slot + row;
      AffineRow fit;
      if (!fit_row(rows.row(row), context.head_dim, kTopCode, fit)) return false;
      scale[slot] = fit.scale;
      minimum[slot] = fit.minimum;
      const float step = to_float(fit.scale);
      const float offset = to_float(fit.minimum);
      const float* values = rows.row(row);
      for_codes(context, slot, [=](size_t channel, size_t byte, int shift) {
        // A range below the smallest half leaves scale 0: all codes 0.
        const float position =
            step > 0 ? std::floor((values[channel] - offset) / step + 0.5f) : 0.0f;
        const int code = static_cast<int>(std::clamp(position, 0.0f, float{kTopCode}));
        write(block, byte, shift, code);
      });
    }
    return true;
  }
  static void decode(const BlockContext& context, const std::byte* block, uint32_t first_slot,
                     uint32_t count, float* rows) {
    for (size_t row = 0; row < count; ++row) {
      const size_t slot = first_slot + row;
      const float step = to_float(scales(context, block)[slot]);
      const float offset = to_float(minima(context, block)[slot]);
      float* out = rows + row * context.head_dim;
      for_codes(context, slot, [=](size_t channel, size_t byte, int shift) {
        out[channel] = static_cast<float>(read(block, byte, shift)) * step + offset;
      });
    }
  }
  static void copy_slot(const BlockContext& from_context, const std::byte* from, uint32_t from_slot,
                        const BlockContext& to_context, std::byte* to, uint32_t to_slot) {
    std::array<uint8_t, kernels::kMaxCodeDepth> codes;
    for_codes(from_context, from_slot, [&](size_t channel, size_t byte, int shift) {
      codes[channel] = static_cast<uint8_t>(read(from, byte, shift));
    });
    for_codes(to_context, to_slot, [&](size_t channel, size_t byte, int shift) {
      write(to, byte, shift, codes[channel]);
    });
    const_cast<Half*>(scales(to_context, to))[to_slot] = scales(from_context, from)[from_slot];
    const_cast<Half*>(minima(to_context, to))[to_slot] = minima(from_context, from)[from_slot];
  }
  // Every byte is a legal code; only the parameters can be wrong.
  static Result<void> validate(const BlockContext& context, std::span<const std::byte> block) {
    if (block.size() != block_bytes(context)) {
      return fail("block of {} bytes, expected {}", block.size(), block_bytes(context));
    }
    for (size_t slot = 0; slot < context.slots; ++slot) {
      const float scale = to_float(scales(context, block.data())[slot]);
      const float minimum = to_float(minima(context, block.data())[slot]);
      if (!(std::isfinite(scale) && scale >= 0 && std::isfinite(minimum))) {
        return fail("slot {} has scale {} and minimum {}, expected finite ones and a scale >= 0",
                    slot, scale, minimum);
      }
    }
    return {};
  }

  // A prepared query: rows as the kernels want them, then scale [rows], then constant [rows].
  static kernels::PreparedRows prepared(std::byte* memory, size_t rows, size_t row_depth) {
    auto* scale = reinterpret_cast<float*>(memory + rows * kernels::prepared_row_bytes(row_depth));
    return {.data = memory, .scale = scale, .constant = scale + rows};
  }
  static size_t query_bytes(const BlockContext& context, uint32_t rows) {
    return rows * (kernels::prepared_row_bytes(context.head_dim) + 2 * sizeof(float));
  }
  static void prepare_query(const BlockContext& context, const float* q, uint32_t rows,
                            std::byte* query) {
    kernels::active_kernels().quantise_query({.x = q,
                                              .x_stride = context.head_dim,
                                              .depth = context.head_dim,
                                              .rows = rows,
                                              .out = prepared(query, rows, context.head_dim)});
  }
  // The kernels fetch the codes of the block ahead; its parameters lie behind them.
  [[gnu::always_inline]] static void prefetch_parameters(const BlockContext& context,
                                                         const std::byte* ahead) {
    if (ahead == nullptr) return;
    prefetch_range(ahead, code_bytes(context), block_bytes(context));
  }
  static void score(const BlockContext& context, const std::byte* block, const std::byte* query,
                    uint32_t rows, float* logits, const std::byte* ahead) {
    prefetch_parameters(context, ahead);
    kernels::active_kernels().code_dot[kBitsIndex](
        {.codes = reinterpret_cast<const uint8_t*>(block),
         .lanes = context.slots,
         .depth = context.head_dim,
         .scale = scales(context, block),
         .minimum = minima(context, block),
         .x = prepared(const_cast<std::byte*>(query), rows, context.head_dim),
         .rows = rows,
         .out = logits,
         .out_stride = context.slots,
         .prefetch = ahead});
  }
  static void accumulate(const BlockContext& context, const std::byte* block, const float* weights,
                         uint32_t rows, float* accumulator, const std::byte* ahead) {
    prefetch_parameters(context, ahead);
    alignas(64)
        std::array<std::byte, kernels::kMaxRows*(kernels::prepared_row_bytes(kPageSlots) + 8)>
            memory;
    const kernels::PreparedRows x = prepared(memory.data(), rows, context.slots);
    const kernels::Kernels& kernels = kernels::active_kernels();
    kernels.quantise_weights({.bits = kBits,
                              .p = weights,
                              .p_stride = context.slots,
                              .depth = context.slots,
                              .rows = rows,
                              .scale = scales(context, block),
                              .minimum = minima(context, block),
                              .out = x});
    kernels.code_accumulate[kBitsIndex]({.codes = reinterpret_cast<const uint8_t*>(block),
                                         .lanes = context.head_dim,
                                         .depth = context.slots,
                                         .scale = nullptr,
                                         .minimum = nullptr,
                                         .x = x,
                                         .rows = rows,
                                         .out = accumulator,
                                         .out_stride = context.head_dim,
                                         .prefetch = ahead});
  }

  static constexpr Codec codec(std::string_view name) {
    return {.name = name,
            .nominal_bits = kBits == kernels::CodeBits::eight ? 8.0 : 4.0,
            .supports = supports,
            .block_bytes = block_bytes,
            .encode = encode,
            .decode = decode,
            .copy_slot = copy_slot,
            .validate = validate,
            .query_bytes = query_bytes,
            .prepare_query = prepare_query,
            .score = score,
            .accumulate = accumulate};
  }
};

}  // namespace skvis
