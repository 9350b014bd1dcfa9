// SPDX-License-Identifier: Apache-2.0
// A decoder-only language model: one step over the rows of many sequences. What the rows' sequences
// are, where their keys and values lie and who may see whom is known to the LayerCache alone.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "attention/layer_cache.hpp"
#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "formats/model_files.hpp"
#include "kv/shape.hpp"
#include "model/activations.hpp"
#include "model/weights.hpp"

namespace skvis {

// One token of a step. Rows of one sequence follow each other in the order of their positions.
struct StepRow {
  int32_t token = 0;
  RowKind kind = RowKind::prompt;
  bool wants_logits = false;
};

class Model {
 public:
  // `path` as choose_dense_path() gives it. Fails as load_weights() does. The pool is used while
  // loading only.
  static Result<Model> load(std::shared_ptr<const ModelFiles> files, const DensePath& path,
                            ThreadPool& threads, const LoadProgress& progress = {});

  const ModelConfig& config() const { return files_->config(); }
  const ModelFiles& files() const { return *files_; }
  const DensePath& dense_path() const { return path_; }
  // "dense avx512_bf16; prompt rows: bf16 x bf16, generated rows: bf16 x f32"
  std::string description() const;
  size_t weight_bytes() const { return weights_.bytes(); }
  CacheShape cache_shape() const;
  // Values [rows, head_dim] of one KV head, seen through the output projection: for each the mean
  // over the head's query heads of the sum of magnitudes of W_o v, out [rows]. Any thread.
  void output_norms(HeadId id, const RowsView& values, std::span<float> out) const;

  // A part of the layers: from `first` to before `last`. The residual stream [rows, hidden] comes
  // from `in` where `first` is not 0, and goes to `out` where `last` is not the number of layers.
  struct Layers {
    size_t first = 0;
    size_t last = SIZE_MAX;  // SIZE_MAX: all
    const float* in = nullptr;
    float* out = nullptr;
  };
  // Runs all layers, or a part of them, and writes the logits of the rows that want them, in order,
  // to `logits` [wanted, vocab_size]. A row's logits depend on its sequence only: neither on the
  // other rows nor on slices or threads. One caller at a time. Fails when a token is outside the
  // vocabulary or `logits` has another size; the cache has then not been touched.
  Result<void> forward(std::span<const StepRow> rows, LayerCache& cache, std::span<float> logits,
                       ThreadPool& threads, const Layers& layers);
  Result<void> forward(std::span<const StepRow> rows, LayerCache& cache, std::span<float> logits,
                       ThreadPool& threads) {
    return forward(rows, cache, logits, threads, Layers());
  }

 private:
  Model(std::shared_ptr<const ModelFiles> files, const DensePath& path);

  Result<void> prepare(std::span<const StepRow> rows, std::span<float> logits, ThreadPool& threads);
  void embed(std::span<const StepRow> rows, ThreadPool& threads);
  void attention_block(size_t layer, LayerCache& cache, size_t rows, ThreadPool& threads);
  void mlp_block(size_t layer, size_t rows, ThreadPool& threads);
  void head_norm(const std::vector<float>& weight, float* heads, size_t rows, size_t count,
                 ThreadPool& threads);
  void write_logits(std::span<const StepRow> rows, std::span<float> logits, ThreadPool& threads);

  std::shared_ptr<const ModelFiles> files_;
  DensePath path_;
  RotaryTable rotary_;
  ModelWeights weights_;
  Activations buffers_;
};

}  // namespace skvis
