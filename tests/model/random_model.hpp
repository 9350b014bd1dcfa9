// SPDX-License-Identifier: Apache-2.0
// Small random models of any shape, written as Hugging Face folders.
#pragma once

#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "base/half.hpp"
#include "base/json.hpp"
#include "files.hpp"
#include "formats/safetensors.hpp"

namespace skvis::testing {

struct RandomModel {
  Json config;
  std::vector<TensorView> tensors;
  std::vector<std::vector<std::byte>> bytes;  // [tensor]
  DType dtype = DType::kF32;

  // head_dim, heads and KV heads; the rest is small. `more` is merged into config.json.
  RandomModel(size_t head_dim, size_t heads, size_t kv_heads, Json more = Json::object(),
              DType weights = DType::kF32)
      : dtype(weights) {
    config = {{"model_type", "llama"},          {"hidden_size", 48},
              {"intermediate_size", 72},        {"num_hidden_layers", 2},
              {"num_attention_heads", heads},   {"num_key_value_heads", kv_heads},
              {"head_dim", head_dim},           {"vocab_size", 61},
              {"rms_norm_eps", 1e-5},           {"rope_theta", 10000.0},
              {"max_position_embeddings", 512}, {"tie_word_embeddings", false}};
    config.update(more);
    fill();
  }

  void fill() {
    const size_t hidden = config["hidden_size"], wide = config["intermediate_size"];
    const size_t dim = config["head_dim"], vocab = config["vocab_size"];
    const size_t q = static_cast<size_t>(config["num_attention_heads"]) * dim;
    const size_t kv = static_cast<size_t>(config["num_key_value_heads"]) * dim;
    const std::string type = config["model_type"];
    const bool bias = type == "qwen2" || config.value("attention_bias", false);
    const size_t layers = config["num_hidden_layers"];
    add("model.embed_tokens.weight", {vocab, hidden}, 1.0f);
    for (size_t layer = 0; layer < layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      const auto matrix = [&](const std::string& name, size_t out, size_t in, bool with_bias) {
        add(prefix + name + ".weight", {out, in}, 1.5f / std::sqrt(static_cast<float>(in)));
        if (with_bias) add(prefix + name + ".bias", {out}, 0.3f);
      };
      matrix("self_attn.q_proj", q, hidden, bias);
      matrix("self_attn.k_proj", kv, hidden, bias);
      matrix("self_attn.v_proj", kv, hidden, bias);
      matrix("self_attn.o_proj", hidden, q, bias && type == "llama");
      matrix("mlp.gate_proj", wide, hidden, config.value("mlp_bias", false));
      matrix("mlp.up_proj", wide, hidden, config.value("mlp_bias", false));
      matrix("mlp.down_proj", hidden, wide, config.value("mlp_bias", false));
      add(prefix + "input_layernorm.weight", {hidden}, 0.3f, 1.0f);
      add(prefix + "post_attention_layernorm.weight", {hidden}, 0.3f, 1.0f);
      if (type == "qwen3") {
        add(prefix + "self_attn.q_norm.weight", {dim}, 0.3f, 1.0f);
        add(prefix + "self_attn.k_norm.weight", {dim}, 0.3f, 1.0f);
      }
    }
    add("model.norm.weight", {hidden}, 0.3f, 1.0f);
    if (!config["tie_word_embeddings"]) add("lm_head.weight", {vocab, hidden}, 0.3f);
  }

  void add(const std::string& name, std::vector<size_t> shape, float spread, float mean = 0) {
    std::mt19937 random(static_cast<unsigned>(bytes.size() + 1));
    std::normal_distribution<float> normal(mean, spread);
    const size_t width = block_bytes(dtype);
    std::vector<std::byte> data(*shape_elements(shape) * width);
    for (size_t i = 0; i < data.size(); i += width) {
      const float value = normal(random);
      const uint16_t half = dtype == DType::kF16 ? to_half(value).bits : to_bfloat16(value).bits;
      std::memcpy(data.data() + i, width == 4 ? static_cast<const void*>(&value) : &half, width);
    }
    bytes.push_back(std::move(data));
    TensorView view;
    view.name = name;
    view.dtype = dtype;
    view.shape = std::move(shape);
    view.data = bytes.back();
    tensors.push_back(std::move(view));
  }

  TensorView& find(std::string_view name) {
    for (TensorView& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    return tensors.front();
  }
  // Overwrites one value of an F32 tensor.
  void set(std::string_view name, size_t index, float value) {
    auto* data = const_cast<std::byte*>(find(name).data.data());
    std::memcpy(data + index * sizeof(float), &value, sizeof(value));
  }

  // Writes (over) the model in a folder and answers the folder.
  const std::filesystem::path& write(const TempFolder& temp) const {
    const std::filesystem::path& folder = temp.path();
    EXPECT_TRUE(write_file(folder / "config.json", config.dump(1)).ok());
    EXPECT_TRUE(write_safetensors(folder / "model.safetensors", tensors).ok());
    return folder;
  }
};

}  // namespace skvis::testing
