// SPDX-License-Identifier: Apache-2.0
#include "model/cache_shape.hpp"

#include <cmath>

#include "model/rope.hpp"

namespace skvis {

CacheShape cache_shape(const ModelConfig& config) {
  CacheShape shape;
  shape.layers = static_cast<uint32_t>(config.layers);
  shape.query_heads = static_cast<uint32_t>(config.heads);
  shape.kv_heads = static_cast<uint32_t>(config.kv_heads);
  shape.head_dim = static_cast<uint32_t>(config.head_dim);
  shape.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    shape.window.push_back(config.slides(layer) ? static_cast<uint32_t>(*config.sliding_window)
                                                : 0);
    shape.owner.push_back(layer);
  }
  shape.rotary = make_rotary_table(config);
  shape.hidden_size = static_cast<uint32_t>(config.hidden_size);
  return shape;
}

}  // namespace skvis
