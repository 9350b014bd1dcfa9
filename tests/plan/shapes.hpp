// SPDX-License-Identifier: Apache-2.0
// Shapes that the tests of plans resolve against.
#pragma once

#include <string>
#include <string_view>

#include "plan/plan.hpp"

namespace skvis {

// Six layers, eight query heads in four KV heads of 64: the tiny model's.
inline CacheShape tiny_shape() {
  CacheShape shape;
  shape.layers = 6;
  shape.query_heads = 8;
  shape.kv_heads = 4;
  shape.head_dim = 64;
  shape.attention_scale = 0.125f;
  shape.window.assign(6, 0);
  return shape;
}

// SmolLM2-135M's: 30 layers, nine query heads in three KV heads of 64.
inline CacheShape default_shape() {
  CacheShape shape = tiny_shape();
  shape.layers = 30;
  shape.query_heads = 9;
  shape.kv_heads = 3;
  shape.window.assign(30, 0);
  return shape;
}

// The tiny model's with every second layer sliding.
inline CacheShape sliding_shape() {
  CacheShape shape = tiny_shape();
  shape.window = {128, 0, 128, 0, 128, 0};
  return shape;
}

inline std::string problem_of(std::string_view plan, const CacheShape& shape = tiny_shape()) {
  const auto resolved = resolve_plan(plan, shape);
  return resolved ? "no problem" : resolved.error().message;
}

}  // namespace skvis
