// SPDX-License-Identifier: Apache-2.0
#include "model/activations.hpp"

#include <algorithm>

namespace skvis {
namespace {

size_t widest_input(const ModelConfig& config) {
  return std::max({config.hidden_size, config.heads * config.head_dim, config.intermediate_size});
}

}  // namespace

void Activations::ensure(const ModelConfig& config, size_t rows, size_t logit_rows,
                         size_t threads) {
  const size_t query_width = config.heads * config.head_dim;
  const size_t kv_width = config.kv_heads * config.head_dim;
  hidden.ensure(rows * config.hidden_size);
  normed.ensure(rows * config.hidden_size);
  q.ensure(rows * query_width);
  k.ensure(rows * kv_width);
  v.ensure(rows * kv_width);
  attended.ensure(rows * query_width);
  projected.ensure(rows * config.hidden_size);
  gate.ensure(rows * config.intermediate_size);
  up.ensure(rows * config.intermediate_size);
  wanted.ensure(logit_rows * config.hidden_size);
  linear.ensure(rows, widest_input(config), threads);
}

size_t Activations::bytes(const ModelConfig& config, size_t rows, size_t logit_rows,
                          size_t threads) {
  const size_t query_width = config.heads * config.head_dim;
  const size_t kv_width = config.kv_heads * config.head_dim;
  const size_t per_row =
      3 * config.hidden_size + 2 * query_width + 2 * kv_width + 2 * config.intermediate_size;
  const size_t per_logit_row = config.hidden_size + config.vocab_size;
  return (rows * per_row + logit_rows * per_logit_row) * sizeof(float) +
         LinearWorkspace::bytes(rows, widest_input(config), threads);
}

}  // namespace skvis
