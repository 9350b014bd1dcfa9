// SPDX-License-Identifier: Apache-2.0
// What a model sees of the cache: one call per layer and step. Which row belongs to which sequence,
// which pages hold what, and what happens to new rows was settled when the step began.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kv/rotary.hpp"
#include "kv/shape.hpp"

namespace skvis {

// Prompt rows and generated rows may take different paths through the model, each chosen at load.
// The path follows from the kind of a row, never from how many rows there are.
enum class RowKind : uint8_t { prompt, generated };

// How rows of one step that belong to one sequence see each other.
enum class StepMask : uint8_t { causal, block };

// One layer's projections for all rows of the step, before RoPE.
struct LayerInput {
  uint32_t layer = 0;
  const float* q = nullptr;       // [rows, query_heads, head_dim]
  const float* k = nullptr;       // [rows, kv_heads, head_dim]
  const float* v = nullptr;       // [rows, kv_heads, head_dim]
  const float* hidden = nullptr;  // [rows, hidden_size] the attention input, for gates
  size_t hidden_size = 0;
  const RotaryTable* rotary = nullptr;  // the layer's own
};

class LayerCache {
 public:
  virtual ~LayerCache() = default;
  // Rotates and appends k and v (uncommitted), attends, writes out [rows, query_heads, head_dim].
  virtual void attend(const LayerInput& input, float* out) = 0;
};

}  // namespace skvis
