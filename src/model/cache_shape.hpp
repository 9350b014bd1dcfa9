// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/model_config.hpp"
#include "kv/shape.hpp"

namespace skvis {

// The shape of a model's KV cache, from its config alone.
CacheShape cache_shape(const ModelConfig& config);

}  // namespace skvis
