// SPDX-License-Identifier: Apache-2.0
// A model's weights, read from its files with every shape checked, and what they cost in memory.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "formats/model_files.hpp"
#include "model/linear.hpp"

namespace skvis {

struct LayerWeights {
  std::vector<float> attention_norm;  // [hidden]
  std::vector<float> mlp_norm;        // [hidden]
  std::vector<float> q_norm;          // [head_dim], empty without q/k norm
  std::vector<float> k_norm;          // [head_dim], empty without q/k norm
  Linear q;                           // [heads * head_dim, hidden]
  Linear k;                           // [kv_heads * head_dim, hidden]
  Linear v;                           // [kv_heads * head_dim, hidden]
  Linear o;                           // [hidden, heads * head_dim]
  Linear gate;                        // [intermediate, hidden]
  Linear up;                          // [intermediate, hidden]
  Linear down;                        // [hidden, intermediate]
};

struct ModelWeights {
  std::vector<LayerWeights> layers;
  std::vector<float> final_norm;  // [hidden]
  Linear output;                  // [vocab, hidden]
  // The embedding of an untied model is read row by row from the mapped file, which must live as
  // long; a tied model reads the rows of `output`, and the file may leave memory.
  std::optional<TensorView> embedding;  // [vocab, hidden]

  size_t bytes() const;
  // The format that most matrices are packed in, for messages.
  WeightFormat format() const { return layers.front().down.format(); }
};

// Called from the loading thread after every tensor; bytes as stored in the file.
using LoadProgress = std::function<void(size_t bytes_done, size_t bytes_total)>;

// Fails on a missing tensor, a wrong shape or a weight that is NaN or infinite, naming file,
// tensor, expected and found. Files' pages are released as tensors have been packed.
Result<ModelWeights> load_weights(const ModelFiles& files, const DensePath& path,
                                  ThreadPool& threads, const LoadProgress& progress = {});

// What a model will hold, computed from shapes alone.
struct ModelMemory {
  size_t packed = 0;     // weights in the kernels' layout: the second copy beside the file
  size_t mapped = 0;     // of the file, what stays in use: the embedding of an untied model
  size_t workspace = 0;  // activations of the largest step
  size_t total() const { return packed + mapped + workspace; }
};

// `step_rows`: the most rows of one step; `logit_rows`: the most of them that want logits.
Result<ModelMemory> model_memory(const ModelFiles& files, const DensePath& path, size_t step_rows,
                                 size_t logit_rows, size_t threads);

}  // namespace skvis
