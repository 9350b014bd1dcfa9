// SPDX-License-Identifier: Apache-2.0
// Keys as in ggml's docs/gguf.md and in what llama.cpp's converter writes.
#include "formats/config_gguf.hpp"

#include <algorithm>
#include <limits>

namespace skvis {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 31;
constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();

// Reads "<architecture>.<key>".
class Keys {
 public:
  Keys(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + ".") {}

  bool has(std::string_view key) const { return file_.has(full(key)); }
  Result<size_t> size(std::string_view key) const {
    SKVIS_TRY(const int64_t found, per_layer(full(key)));
    return static_cast<size_t>(found);
  }
  Result<size_t> size_or(std::string_view key, size_t fallback) const {
    if (!has(key)) return fallback;
    return size(key);
  }
  Result<double> number_or(std::string_view key, double fallback) const {
    return file_.number_or(full(key), fallback);
  }
  Result<std::string_view> string_or(std::string_view key, std::string_view fallback) const {
    return file_.string_or(full(key), fallback);
  }
  std::string full(std::string_view key) const { return prefix_ + std::string(key); }

 private:
  // Some sizes may be written once per layer; all layers must then agree.
  Result<int64_t> per_layer(const std::string& key) const {
    const GgufValue* value = file_.find(key);
    if (value == nullptr || value->type != GgufType::kArray) {
      return file_.integer(key, 1, kMaxSize);
    }
    SKVIS_TRY(const std::vector<int64_t> sizes, file_.integers(key));
    if (sizes.empty() || sizes[0] < 1 || sizes[0] > kMaxSize ||
        std::any_of(sizes.begin(), sizes.end(), [&](int64_t size) { return size != sizes[0]; })) {
      return fail("{}: metadata '{}' differs between layers, which is not supported",
                  file_.origin(), key);
    }
    return sizes[0];
  }

  const GgufFile& file_;
  std::string prefix_;
};

Result<Architecture> read_architecture(const GgufFile& file) {
  SKVIS_TRY(const std::string_view name, file.string("general.architecture"));
  if (name == "llama") return Architecture::kLlama;
  if (name == "qwen2") return Architecture::kQwen2;
  if (name == "qwen3") return Architecture::kQwen3;
  return fail("{}: architecture '{}' is not supported, expected llama, qwen2 or qwen3",
              file.origin(), name);
}

Result<void> read_sizes(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  SKVIS_TRY(config.hidden_size, keys.size("embedding_length"));
  SKVIS_TRY(config.intermediate_size, keys.size("feed_forward_length"));
  SKVIS_TRY(config.layers, keys.size("block_count"));
  SKVIS_TRY(config.heads, keys.size("attention.head_count"));
  SKVIS_TRY(config.kv_heads, keys.size_or("attention.head_count_kv", config.heads));
  SKVIS_TRY(config.head_dim,
            keys.size_or("attention.key_length", config.hidden_size / config.heads));
  SKVIS_TRY(const size_t value_dim, keys.size_or("attention.value_length", config.head_dim));
  SKVIS_TRY(const size_t rotary_dim, keys.size_or("rope.dimension_count", config.head_dim));
  SKVIS_TRY(config.context_length, keys.size("context_length"));
  SKVIS_TRY(config.rms_norm_eps, keys.number_or("attention.layer_norm_rms_epsilon", 1e-6));
  SKVIS_TRY(const int64_t experts, file.integer_or(keys.full("expert_count"), 0, kMaxSize, 0));
  if (value_dim != config.head_dim || rotary_dim != config.head_dim) {
    return fail(
        "{}: keys have {} dimensions, values {}, the rotary embedding {}: all must be the same",
        file.origin(), config.head_dim, value_dim, rotary_dim);
  }
  if (experts != 0) {
    return fail("{}: a mixture of {} experts is not supported", file.origin(), experts);
  }
  if (config.layers > 1024) {
    return fail("{}: metadata '{}' must be between 1 and 1024, found {}", file.origin(),
                keys.full("block_count"), config.layers);
  }
  return {};
}

Result<void> read_yarn(const Keys& keys, ModelConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  SKVIS_TRY(scaling.original_context,
            keys.size_or("rope.scaling.original_context_length", config.context_length));
  SKVIS_TRY(scaling.beta_fast, keys.number_or("rope.scaling.yarn_beta_fast", 32.0));
  SKVIS_TRY(scaling.beta_slow, keys.number_or("rope.scaling.yarn_beta_slow", 1.0));
  if (keys.has("rope.scaling.attn_factor")) {
    // A multiplier of yarn's own temperature here, not its replacement as in config.json.
    SKVIS_TRY(const double multiplier, keys.number_or("rope.scaling.attn_factor", 1.0));
    scaling.attention_factor = multiplier * rope_attention_factor(scaling);
  }
  const double stretched = scaling.factor * static_cast<double>(scaling.original_context);
  if (stretched < static_cast<double>(kMaxSize)) {
    config.context_length = std::max(config.context_length, static_cast<size_t>(stretched));
  }
  return {};
}

Result<void> read_rope(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  SKVIS_TRY(config.rope_theta, keys.number_or("rope.freq_base", 10000.0));
  // Without a type, a factor means linear scaling; so it was before types were written.
  SKVIS_TRY(const std::string_view kind, keys.string_or("rope.scaling.type", "linear"));
  SKVIS_TRY(const double old_factor, keys.number_or("rope.scale_linear", 0.0));
  SKVIS_TRY(const double factor, keys.number_or("rope.scaling.factor", old_factor));
  if (kind == "none" || factor == 0.0) return {};
  RopeScaling& scaling = config.rope_scaling;
  scaling.factor = factor;
  if (!(factor >= 1e-3 && factor <= 1e6)) {
    return fail("{}: metadata '{}' must be between 0.001 and 1e6, found {}", file.origin(),
                keys.full("rope.scaling.factor"), factor);
  }
  if (kind == "linear") {
    scaling.kind = factor == 1.0 ? RopeScaling::Kind::kNone : RopeScaling::Kind::kLinear;
    return {};
  }
  if (kind != "yarn") {
    return fail("{}: metadata '{}' is '{}', expected none, linear or yarn", file.origin(),
                keys.full("rope.scaling.type"), kind);
  }
  scaling.kind = RopeScaling::Kind::kYarn;
  return read_yarn(keys, config);
}

Result<void> read_window(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  config.sliding_layers.assign(config.layers, false);
  SKVIS_TRY(const int64_t window,
            file.integer_or(keys.full("attention.sliding_window"), 0, kMaxSize, 0));
  if (window == 0) return {};
  config.sliding_window = static_cast<size_t>(window);
  const std::string pattern_key = keys.full("attention.sliding_window_pattern");
  const GgufValue* pattern = file.find(pattern_key);
  if (pattern == nullptr) {
    config.sliding_layers.assign(config.layers, true);
  } else if (pattern->type == GgufType::kArray) {
    SKVIS_TRY(config.sliding_layers, file.booleans(pattern_key));
  } else {
    // Every n-th layer sees everything.
    SKVIS_TRY(const int64_t period, file.integer(pattern_key, 1, kMaxSize));
    for (size_t i = 0; i < config.layers; ++i) {
      config.sliding_layers[i] = (i + 1) % static_cast<size_t>(period) != 0;
    }
  }
  return {};
}

Result<void> read_rope_factors(const GgufFile& file, const GgufTensorFinder& find_tensor,
                               ModelConfig& config) {
  SKVIS_TRY(const std::optional<TensorView> factors, find_tensor("rope_freqs.weight"));
  if (!factors) return {};
  SKVIS_CHECK(check_shape(*factors, std::vector<size_t>{config.head_dim / 2}, file.origin()));
  config.rope_frequency_factors.resize(factors->columns());
  dequantize_rows(*factors, 0, 1, config.rope_frequency_factors.data());
  return {};
}

// Flags that GGUF does not write down.
Result<void> look_at_tensors(const GgufFile& file, const GgufTensorFinder& find_tensor,
                             const Keys& keys, ModelConfig& config) {
  const auto has = [&](std::string_view name) -> Result<bool> {
    SKVIS_TRY(const std::optional<TensorView> tensor, find_tensor(name));
    return tensor.has_value();
  };
  SKVIS_TRY(config.qkv_bias, has("blk.0.attn_q.bias"));
  SKVIS_TRY(config.output_bias, has("blk.0.attn_output.bias"));
  SKVIS_TRY(config.mlp_bias, has("blk.0.ffn_gate.bias"));
  SKVIS_TRY(config.qk_norm, has("blk.0.attn_q_norm.weight"));
  SKVIS_TRY(const bool output, has("output.weight"));
  config.tie_word_embeddings = !output;
  SKVIS_TRY(const std::optional<TensorView> embedding, find_tensor("token_embd.weight"));
  if (embedding) {
    config.vocab_size = embedding->rows();
  } else if (const GgufValue* tokens = file.find("tokenizer.ggml.tokens");
             tokens != nullptr && !keys.has("vocab_size")) {
    config.vocab_size = tokens->count;  // a file that holds only a vocabulary
  } else {
    SKVIS_TRY(config.vocab_size, keys.size("vocab_size"));
  }
  return read_rope_factors(file, find_tensor, config);
}

std::optional<int32_t> token_id(const GgufFile& file, std::string_view key) {
  const Result<int64_t> id = file.integer(key, 0, kMaxId);
  if (!id) return std::nullopt;
  return static_cast<int32_t>(*id);
}

}  // namespace

Result<ModelConfig> config_from_gguf(const GgufFile& file, const GgufTensorFinder& find_tensor) {
  ModelConfig config;
  SKVIS_TRY(config.architecture, read_architecture(file));
  const Keys keys(file, architecture_name(config.architecture));
  SKVIS_CHECK(read_sizes(file, keys, config));
  SKVIS_CHECK(read_rope(file, keys, config));
  SKVIS_CHECK(read_window(file, keys, config));
  SKVIS_CHECK(look_at_tensors(file, find_tensor, keys, config));
  config.bos_id = token_id(file, "tokenizer.ggml.bos_token_id");
  // A chat turn may end with its own token.
  for (const std::string_view key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const std::optional<int32_t> id = token_id(file, key);
    if (id &&
        std::find(config.eos_ids.begin(), config.eos_ids.end(), *id) == config.eos_ids.end()) {
      config.eos_ids.push_back(*id);
    }
  }
  drop_foreign_ids(config, file.origin());
  SKVIS_CHECK(check_config(config, file.origin()));
  return config;
}

GenerationDefaults generation_from_gguf(const GgufFile& file) {
  const auto recommended = [&](std::string_view key, double min,
                               double max) -> std::optional<double> {
    const Result<double> number = file.number(key);
    if (!number || *number < min || *number > max) return std::nullopt;
    return *number;
  };
  GenerationDefaults defaults;
  defaults.temperature = recommended("general.sampling.temp", 0, 1000);
  defaults.top_p = recommended("general.sampling.top_p", 0, 1);
  defaults.min_p = recommended("general.sampling.min_p", 0, 1);
  if (const auto top_k = recommended("general.sampling.top_k", 0, 1e6)) {
    defaults.top_k = static_cast<int64_t>(*top_k);
  }
  return defaults;
}

std::map<std::string, std::string> templates_from_gguf(const GgufFile& file) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  std::map<std::string, std::string> templates;
  for (const auto& [key, value] : file.metadata()) {
    if (value.type != GgufType::kString || !key.starts_with(kKey)) continue;
    const std::string_view rest = key.substr(kKey.size());
    if (!rest.empty() && (rest[0] != '.' || rest.size() == 1)) continue;
    const std::string name(rest.empty() ? "default" : rest.substr(1));
    const std::string text(reinterpret_cast<const char*>(value.data.data()), value.data.size());
    if (rest.empty()) {
      templates[name] = text;  // wins over one that is named "default"
    } else {
      templates.emplace(name, text);
    }
  }
  return templates;
}

std::optional<std::string> hugging_face_name(std::string_view gguf_name) {
  struct Pair {
    std::string_view gguf, hugging_face;
  };
  static constexpr Pair kOuter[] = {
      {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
  static constexpr Pair kLayer[] = {
      {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
      {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  const size_t dot = gguf_name.rfind('.');
  if (dot == gguf_name.npos) return std::nullopt;
  const std::string_view kind = gguf_name.substr(dot);  // ".weight" or ".bias"
  if (kind != ".weight" && kind != ".bias") return std::nullopt;
  std::string_view stem = gguf_name.substr(0, dot);
  if (!stem.starts_with("blk.")) {
    for (const Pair& pair : kOuter) {
      if (pair.gguf == stem) return fmt::format("{}{}", pair.hugging_face, kind);
    }
    return std::nullopt;
  }
  stem.remove_prefix(4);
  const size_t end = stem.find('.');
  if (end == stem.npos || end == 0 || end > 4) return std::nullopt;
  const std::string_view layer = stem.substr(0, end);
  for (const Pair& pair : kLayer) {
    if (pair.gguf == stem.substr(end + 1)) {
      return fmt::format("model.layers.{}.{}{}", layer, pair.hugging_face, kind);
    }
  }
  return std::nullopt;
}

}  // namespace skvis
