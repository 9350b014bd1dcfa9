// SPDX-License-Identifier: Apache-2.0
// The words that every room above shares: what a cache looks like and how its parts are named.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kv/rotary.hpp"

namespace skvis {

// Most slots a page may have: one bit each in a 64-bit mask of live rows.
inline constexpr uint32_t kPageSlots = 64;
inline constexpr uint32_t kMaxHeadDim = 512;

// One key/value head of one layer.
struct HeadId {
  uint32_t layer = 0;
  uint32_t head = 0;
  bool operator==(const HeadId&) const = default;
};

// The shape of the KV cache of one model.
struct CacheShape {
  uint32_t layers = 0;
  uint32_t query_heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  float attention_scale = 0;     // multiplies q.k, usually 1 / sqrt(head_dim)
  std::vector<uint32_t> window;  // [layers] tokens a layer attends to; 0: all of them
  std::vector<uint32_t> owner;   // [layers] the layer whose rows a layer reads; the identity unless
                                 // layers share a cache
  RotaryTable rotary;            // of all layers; empty where selectors need not know it
  uint32_t hidden_size = 0;      // of the attention input; 0: unknown

  uint32_t group_size() const { return query_heads / kv_heads; }  // query heads per KV head
  uint32_t heads() const { return layers * kv_heads; }            // (layer, KV head) pairs
  uint32_t index(HeadId id) const { return id.layer * kv_heads + id.head; }
  HeadId head(uint32_t index) const { return {index / kv_heads, index % kv_heads}; }
};

// The first position that a query at `position` sees through a sliding window (0: no window).
inline uint32_t window_begin(uint32_t window, uint32_t position) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

// A key or a value: some codes and most layouts differ between the two.
enum class Role : uint8_t { key, value };

// Consecutive rows as floats. Does not own them.
struct RowsView {
  const float* data = nullptr;  // [rows, head_dim], `stride` floats from one row to the next
  size_t rows = 0;
  size_t head_dim = 0;
  size_t stride = 0;
  const float* row(size_t i) const { return data + i * stride; }
};

}  // namespace skvis
