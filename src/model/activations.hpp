// SPDX-License-Identifier: Apache-2.0
// The buffers of one step. They grow to the largest step seen and are kept: after warm-up a step
// allocates nothing.
#pragma once

#include <vector>

#include "base/aligned.hpp"
#include "formats/model_config.hpp"
#include "model/linear.hpp"

namespace skvis {

struct Activations {
  AlignedBuffer<float> hidden;     // [rows, hidden] the residual stream
  AlignedBuffer<float> normed;     // [rows, hidden]
  AlignedBuffer<float> q;          // [rows, heads, head_dim]
  AlignedBuffer<float> k;          // [rows, kv_heads, head_dim]
  AlignedBuffer<float> v;          // [rows, kv_heads, head_dim]
  AlignedBuffer<float> attended;   // [rows, heads, head_dim]
  AlignedBuffer<float> projected;  // [rows, hidden] what a block adds to the stream
  AlignedBuffer<float> gate;       // [rows, intermediate]
  AlignedBuffer<float> up;         // [rows, intermediate]
  AlignedBuffer<float> wanted;     // [logit rows, hidden]
  std::vector<RowRun> runs;        // the step's rows by kind
  std::vector<RowRun> logit_runs;  // those that want logits, by kind
  LinearWorkspace linear;

  // Throws std::bad_alloc.
  void ensure(const ModelConfig& config, size_t rows, size_t logit_rows, size_t threads);
  // Bytes after a step of this size; the logits themselves belong to the caller and are counted
  // too.
  static size_t bytes(const ModelConfig& config, size_t rows, size_t logit_rows, size_t threads);
};

}  // namespace skvis
