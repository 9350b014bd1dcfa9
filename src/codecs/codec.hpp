// SPDX-License-Identifier: Apache-2.0
// The contract of a codec: how the rows of a page are stored, and how attention reads them.
//
// A codec is a table of phases, filled by designated initialisers. A page holds one *block* of keys
// and one of values, each written by one codec. A codec never allocates, starts no thread, never
// sees a token id and has no state: everything it may depend on is in the BlockContext.
//
// Rules every codec keeps, checked by tests/codecs/contract_test.cpp for every entry of the
// registry:
//  1. Bytes of a block depend on the rows, the context and the name alone: the same on every CPU,
//  no
//     pointers, no unset bytes (empty slots are zero). Change the bytes -> change the name.
//  2. A row's code does not depend on the other rows of the block, unless rows_per_token_group > 1.
//  3. A row is encoded once. Codes are only copied (copy_slot) or dropped.
//  4. Fused attention equals attention over decoded rows within a tenth of the codec's own error.
//  5. Rows with NaN or infinity are refused by encode; blocks from outside pass validate first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "kv/rotary.hpp"
#include "kv/shape.hpp"

namespace skvis {

// What a block looks like and what its codec may look at.
struct BlockContext {
  Role role = Role::key;
  uint32_t head_dim = 0;
  uint32_t slots = kPageSlots;           // rows that fit; a multiple of 16
  const std::byte* side_data = nullptr;  // tables of the codec's SideData scope, else null
  // Only for codes that keep keys before RoPE: true positions of the slots and the layer's table.
  const uint32_t* positions = nullptr;  // [slots]
  const RotaryTable* rotary = nullptr;
};

enum class KeyForm : uint8_t { after_rope, before_rope };
enum class SideScope : uint8_t { none, model, sequence, page };

struct Codec {
  std::string_view name;  // one word, lower case, stable for ever

  // --- what it states about itself ---
  bool exact = false;  // decodes to the bits that an exact row has
  KeyForm key_form = KeyForm::after_rope;
  uint32_t heads_per_group = 1;            // KV heads whose rows are encoded together
  uint32_t rows_per_token_group = 1;       // 1: rows can be repacked one by one
  SideScope side_scope = SideScope::none;  // tables beside the pages, counted where they live
  double nominal_bits = 0;                 // per element without parameters, for tables and maps

  // --- required phases ---
  // Can blocks of this shape exist? The message says which head sizes are possible.
  Result<void> (*supports)(const BlockContext& context) = nullptr;
  // Bytes of one block; slots * bytes per row.
  size_t (*block_bytes)(const BlockContext& context) = nullptr;
  // Writes rows [rows, head_dim] into slots [first_slot, first_slot + rows). The block was zeroed
  // before its first row; other slots keep their bytes. False: a row holds NaN or infinity, or is
  // too large for the code's parameters; nothing useful was written.
  bool (*encode)(const BlockContext& context, RowsView rows, uint32_t first_slot,
                 std::byte* block) = nullptr;
  // Rows of slots [first_slot, first_slot + count) as floats [count, head_dim]. Keys come out after
  // RoPE whatever key_form is.
  void (*decode)(const BlockContext& context, const std::byte* block, uint32_t first_slot,
                 uint32_t count, float* rows) = nullptr;
  // The whole block as floats that lie like exact elements (kernels/params.hpp), for codes whose
  // elements lie so themselves. Null: rows come by decode only.
  void (*expand)(const BlockContext& context, const std::byte* block, float* elements) = nullptr;
  // Copies one row's code, unchanged, from one block to another of the same head_dim and role;
  // their numbers of slots may differ.
  void (*copy_slot)(const BlockContext& from_context, const std::byte* from, uint32_t from_slot,
                    const BlockContext& to_context, std::byte* to, uint32_t to_slot) = nullptr;
  // A block that came from outside: are its parameters finite and its codes legal?
  Result<void> (*validate)(const BlockContext& context, std::span<const std::byte> block) = nullptr;

  // --- the fast path; a codec without it is read through decoded tiles ---
  // All query heads of a group (`rows` of them, 1..8) share a block and read it once.
  // Bytes of a prepared query of `rows` rows (64-byte aligned memory is provided).
  size_t (*query_bytes)(const BlockContext& context, uint32_t rows) = nullptr;
  // q [rows, head_dim], rotated by RoPE and multiplied by the attention scale, into what score
  // needs.
  void (*prepare_query)(const BlockContext& context, const float* q, uint32_t rows,
                        std::byte* query) = nullptr;
  // logits [rows, slots]: q.k of every slot, empty ones included (the caller masks). `ahead`: a
  // block of the same codec that is read soon and may be fetched ahead, or null.
  void (*score)(const BlockContext& context, const std::byte* block, const std::byte* query,
                uint32_t rows, float* logits, const std::byte* ahead) = nullptr;
  // accumulator [rows, accumulator_width] += sum over slots of weights [rows, slots] * value.
  // A weight of zero adds nothing, whatever the slot holds.
  void (*accumulate)(const BlockContext& context, const std::byte* block, const float* weights,
                     uint32_t rows, float* accumulator, const std::byte* ahead) = nullptr;
  size_t (*accumulator_width)(const BlockContext& context) = nullptr;  // null: head_dim
  // Turns accumulators into [rows, head_dim], once for all pages of one code; weight_sums [rows]
  // are the sums of the weights (removed means, zero points). Null: a copy.
  void (*finish)(const BlockContext& context, const float* accumulator, const float* weight_sums,
                 uint32_t rows, float* out) = nullptr;
};

// A linear map before a codec: orthonormal, so that q.k is kept when both are mapped and values
// come back by its inverse. Composes with every codec.
struct Transform {
  std::string_view name;
  Result<void> (*supports)(uint32_t head_dim) = nullptr;
  void (*forward)(uint32_t head_dim, float* rows,
                  size_t count) = nullptr;  // in place [count, head_dim]
  void (*inverse)(uint32_t head_dim, float* rows, size_t count) = nullptr;
};

// How one role of one head is stored: "int4 hadamard", "f16". The functions below are the codec's
// phases with the transform applied where it belongs; they are what the rooms above call.
struct Code {
  const Codec* codec = nullptr;
  const Transform* transform = nullptr;  // null: none

  std::string text() const;  // as in a plan
  bool operator==(const Code&) const = default;

  Result<void> supports(const BlockContext& context) const;
  size_t block_bytes(const BlockContext& context) const { return codec->block_bytes(context); }
  bool encode(const BlockContext& context, RowsView rows, uint32_t first_slot,
              std::byte* block) const;
  void decode(const BlockContext& context, const std::byte* block, uint32_t first_slot,
              uint32_t count, float* rows) const;
  bool expands() const { return codec->expand != nullptr && transform == nullptr; }
  bool fused() const { return codec->score != nullptr && codec->accumulate != nullptr; }
  size_t query_bytes(const BlockContext& context, uint32_t rows) const;
  void prepare_query(const BlockContext& context, const float* q, uint32_t rows,
                     std::byte* query) const;
  size_t accumulator_width(const BlockContext& context) const;
  void finish(const BlockContext& context, const float* accumulator, const float* weight_sums,
              uint32_t rows, float* out) const;
};

// The registry: every codec and transform, in the order of documentation.
std::span<const Codec* const> codecs();
std::span<const Transform* const> transforms();

// "int4", "int4 hadamard": words in any order, exactly one codec. The message names the nearest
// word.
Result<Code> parse_code(std::string_view text);

}  // namespace skvis
