// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

#include <algorithm>
#include <array>

#include "model/activations.hpp"

namespace skvis {
namespace {

// One matrix of a layer: where it lies in the file and in memory, and its shape.
struct MatrixPlan {
  std::string name;  // without ".weight"
  size_t features = 0;
  size_t inputs = 0;
  bool bias = false;
  Linear LayerWeights::*place = nullptr;
};

std::string layer_prefix(size_t layer) {
  return fmt::format("model.layers.{}.", layer);
}

std::array<MatrixPlan, 7> layer_matrices(const ModelConfig& config, size_t layer) {
  const std::string attention = layer_prefix(layer) + "self_attn.";
  const std::string mlp = layer_prefix(layer) + "mlp.";
  const size_t hidden = config.hidden_size;
  const size_t wide = config.intermediate_size;
  const size_t q = config.heads * config.head_dim;
  const size_t kv = config.kv_heads * config.head_dim;
  return {{
      {attention + "q_proj", q, hidden, config.qkv_bias, &LayerWeights::q},
      {attention + "k_proj", kv, hidden, config.qkv_bias, &LayerWeights::k},
      {attention + "v_proj", kv, hidden, config.qkv_bias, &LayerWeights::v},
      {attention + "o_proj", hidden, q, config.output_bias, &LayerWeights::o},
      {mlp + "gate_proj", wide, hidden, config.mlp_bias, &LayerWeights::gate},
      {mlp + "up_proj", wide, hidden, config.mlp_bias, &LayerWeights::up},
      {mlp + "down_proj", hidden, wide, config.mlp_bias, &LayerWeights::down},
  }};
}

std::string output_name(const ModelConfig& config) {
  return config.tie_word_embeddings ? "model.embed_tokens" : "lm_head";
}

// Reads one tensor after the other and keeps count.
class Loader {
 public:
  Loader(const ModelFiles& files, const DensePath& path, ThreadPool& threads,
         const LoadProgress& progress)
      : files_(files), path_(path), threads_(threads), progress_(progress) {}

  Result<std::vector<float>> vector(const std::string& name, size_t size) {
    const std::array<size_t, 1> shape{size};
    SKVIS_TRY(const TensorView tensor, files_.tensor(name, shape));
    SKVIS_CHECK(in_file(check_finite(tensor)));
    std::vector<float> values(size);
    dequantize_rows(tensor, 0, 1, values.data());
    count(tensor);
    return values;
  }

  Result<Linear> matrix(const MatrixPlan& plan) {
    std::vector<float> bias;
    if (plan.bias) {
      SKVIS_TRY(bias, vector(plan.name + ".bias", plan.features));
    }
    const std::array<size_t, 2> shape{plan.features, plan.inputs};
    SKVIS_TRY(const TensorView tensor, files_.tensor(plan.name + ".weight", shape));
    SKVIS_TRY(Linear linear, in_file(Linear::load(path_, tensor, std::move(bias), threads_)));
    files_.drop_resident(tensor);
    count(tensor);
    return linear;
  }

  Result<TensorView> mapped(const std::string& name, size_t rows, size_t columns) {
    const std::array<size_t, 2> shape{rows, columns};
    SKVIS_TRY(TensorView tensor, files_.tensor(name, shape));
    SKVIS_CHECK(in_file(check_finite(tensor)));
    count(tensor);
    return tensor;
  }

 private:
  template <typename T>
  Result<T> in_file(Result<T> result) const {
    if (!result) return fail("{}: {}", files_.path().string(), result.error().message);
    return result;
  }

  void count(const TensorView& tensor) {
    done_ += tensor.data.size();
    if (progress_) progress_(done_, std::max(done_, files_.weight_bytes()));
  }

  const ModelFiles& files_;
  const DensePath& path_;
  ThreadPool& threads_;
  const LoadProgress& progress_;
  size_t done_ = 0;
};

Result<LayerWeights> load_layer(Loader& loader, const ModelConfig& config, size_t layer) {
  LayerWeights weights;
  const std::string prefix = layer_prefix(layer);
  const size_t hidden = config.hidden_size;
  SKVIS_TRY(weights.attention_norm, loader.vector(prefix + "input_layernorm.weight", hidden));
  SKVIS_TRY(weights.mlp_norm, loader.vector(prefix + "post_attention_layernorm.weight", hidden));
  if (config.qk_norm) {
    const std::string attention = prefix + "self_attn.";
    SKVIS_TRY(weights.q_norm, loader.vector(attention + "q_norm.weight", config.head_dim));
    SKVIS_TRY(weights.k_norm, loader.vector(attention + "k_norm.weight", config.head_dim));
  }
  for (const MatrixPlan& plan : layer_matrices(config, layer)) {
    SKVIS_TRY(weights.*plan.place, loader.matrix(plan));
  }
  return weights;
}

}  // namespace

size_t ModelWeights::bytes() const {
  size_t sum = output.bytes() + final_norm.size() * sizeof(float);
  for (const LayerWeights& layer : layers) {
    for (const Linear* linear :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      sum += linear->bytes();
    }
    sum += (layer.attention_norm.size() + layer.mlp_norm.size() + layer.q_norm.size() +
            layer.k_norm.size()) *
           sizeof(float);
  }
  return sum;
}

Result<ModelWeights> load_weights(const ModelFiles& files, const DensePath& path,
                                  ThreadPool& threads, const LoadProgress& progress) {
  const ModelConfig& config = files.config();
  Loader loader(files, path, threads, progress);
  ModelWeights weights;
  for (size_t layer = 0; layer < config.layers; ++layer) {
    SKVIS_TRY(LayerWeights loaded, load_layer(loader, config, layer));
    weights.layers.push_back(std::move(loaded));
  }
  SKVIS_TRY(weights.final_norm, loader.vector("model.norm.weight", config.hidden_size));
  SKVIS_TRY(weights.output, loader.matrix({.name = output_name(config),
                                           .features = config.vocab_size,
                                           .inputs = config.hidden_size}));
  if (!config.tie_word_embeddings) {
    SKVIS_TRY(weights.embedding,
              loader.mapped("model.embed_tokens.weight", config.vocab_size, config.hidden_size));
  }
  return weights;
}

Result<ModelMemory> model_memory(const ModelFiles& files, const DensePath& path, size_t step_rows,
                                 size_t logit_rows, size_t threads) {
  const ModelConfig& config = files.config();
  ModelMemory memory;
  const auto add = [&](const MatrixPlan& plan) -> Result<void> {
    const std::array<size_t, 2> shape{plan.features, plan.inputs};
    SKVIS_TRY(const TensorView tensor, files.tensor(plan.name + ".weight", shape));
    memory.packed +=
        Linear::packed_bytes(path.format_for(tensor.dtype), plan.features, plan.inputs);
    if (plan.bias) memory.packed += plan.features * sizeof(float);
    return {};
  };
  for (size_t layer = 0; layer < config.layers; ++layer) {
    for (const MatrixPlan& plan : layer_matrices(config, layer)) SKVIS_CHECK(add(plan));
    const size_t norms = 2 * config.hidden_size + (config.qk_norm ? 2 * config.head_dim : 0);
    memory.packed += norms * sizeof(float);
  }
  SKVIS_CHECK(add(
      {.name = output_name(config), .features = config.vocab_size, .inputs = config.hidden_size}));
  memory.packed += config.hidden_size * sizeof(float);
  if (!config.tie_word_embeddings) {
    SKVIS_TRY(const TensorView tensor, files.tensor("model.embed_tokens.weight"));
    memory.mapped = tensor.data.size();
  }
  memory.workspace = Activations::bytes(config, step_rows, logit_rows, threads);
  return memory;
}

}  // namespace skvis
