// SPDX-License-Identifier: Apache-2.0
// Keys and defaults as in the configuration classes of Hugging Face transformers
// (LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config, modeling_rope_utils).
#include "formats/config_json.hpp"

#include <algorithm>
#include <limits>

#include "base/json.hpp"

namespace skvis {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 31;
constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();

// What transformers assumes where config.json says nothing.
struct ClassDefaults {
  std::string_view model_type;
  std::string_view class_name;
  Architecture architecture;
  int64_t kv_heads;  // 0: as many as query heads
  int64_t head_dim;  // 0: hidden size / heads
  int64_t context;
  int64_t bos, eos;  // -1: none
  int64_t window;    // 0: none
};

constexpr ClassDefaults kClasses[] = {
    {"llama", "LlamaForCausalLM", Architecture::kLlama, 0, 0, 2048, 1, 2, 0},
    {"mistral", "MistralForCausalLM", Architecture::kMistral, 8, 0, 131072, 1, 2, 4096},
    {"qwen2", "Qwen2ForCausalLM", Architecture::kQwen2, 32, 0, 32768, -1, -1, 4096},
    {"qwen3", "Qwen3ForCausalLM", Architecture::kQwen3, 32, 128, 32768, -1, -1, 4096},
};

const Json* member(const Json& object, std::string_view key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<size_t> size_or(const Json& object, std::string_view key, std::string_view where,
                       int64_t fallback) {
  SKVIS_TRY(const int64_t size, json_int_or(object, key, where, 1, kMaxSize, fallback));
  return static_cast<size_t>(size);
}

Result<size_t> size_of(const Json& object, std::string_view key, std::string_view where) {
  SKVIS_TRY(const int64_t size, json_int(object, key, where, 1, kMaxSize));
  return static_cast<size_t>(size);
}

Result<std::optional<double>> optional_number(const Json& object, std::string_view key,
                                              std::string_view where, double min, double max) {
  if (member(object, key) == nullptr) return std::optional<double>();
  SKVIS_TRY(const double number, json_number(object, key, where, min, max));
  return std::optional<double>(number);
}

// One id, a list of ids, or null. -1 stands for none, as some files write it.
Result<std::vector<int32_t>> token_ids(const Json& object, std::string_view key,
                                       std::string_view where) {
  std::vector<int32_t> ids;
  const Json* value = member(object, key);
  if (value == nullptr) return ids;
  if (!value->is_array()) {
    SKVIS_TRY(const int64_t id, json_int(object, key, where, -1, kMaxId));
    if (id >= 0) ids.push_back(static_cast<int32_t>(id));
    return ids;
  }
  if (value->size() > 1024) {
    return fail("{}: '{}' lists {} tokens, at most 1024 make sense", where, key, value->size());
  }
  for (const Json& entry : *value) {
    if (!entry.is_number_integer() || entry.get<double>() < 0 || entry.get<double>() > kMaxId) {
      return fail("{}: '{}' must list token ids, found {}", where, key, dump_json(entry));
    }
    ids.push_back(entry.get<int32_t>());
  }
  return ids;
}

Result<const ClassDefaults*> find_class(const Json& json, std::string_view where) {
  SKVIS_TRY(const std::string type, json_string_or(json, "model_type", where, ""));
  std::string found = type;
  for (const ClassDefaults& entry : kClasses) {
    if (type == entry.model_type) return &entry;
  }
  const Json* classes = member(json, "architectures");
  if (type.empty() && classes != nullptr && classes->is_array() && !classes->empty() &&
      classes->front().is_string()) {
    found = classes->front().get<std::string>();
    for (const ClassDefaults& entry : kClasses) {
      if (found == entry.class_name) return &entry;
    }
  }
  if (found.empty()) return fail("{}: 'model_type' is missing, expected a string", where);
  return fail("{}: architecture '{}' is not supported, expected llama, mistral, qwen2 or qwen3",
              where, found);
}

Result<void> read_yarn(const Json& rope, std::string_view where, ModelConfig& config,
                       bool has_factor) {
  RopeScaling& scaling = config.rope_scaling;
  if (!has_factor) {
    scaling.factor =
        static_cast<double>(config.context_length) / static_cast<double>(scaling.original_context);
  }
  // transformers reads 0 as "not given" here.
  SKVIS_TRY(const double fast, json_number_or(rope, "beta_fast", where, 0, 1e6, 0.0));
  SKVIS_TRY(const double slow, json_number_or(rope, "beta_slow", where, 0, 1e6, 0.0));
  if (fast != 0.0) scaling.beta_fast = fast;
  if (slow != 0.0) scaling.beta_slow = slow;
  SKVIS_TRY(scaling.attention_factor, optional_number(rope, "attention_factor", where, 1e-3, 1e3));
  SKVIS_TRY(scaling.mscale, optional_number(rope, "mscale", where, 0, 1e3));
  SKVIS_TRY(scaling.mscale_all_dim, optional_number(rope, "mscale_all_dim", where, 0, 1e3));
  SKVIS_TRY(scaling.truncate, json_bool_or(rope, "truncate", where, true));
  const double stretched = scaling.factor * static_cast<double>(scaling.original_context);
  if (stretched < static_cast<double>(kMaxSize)) {
    config.context_length = std::max(config.context_length, static_cast<size_t>(stretched));
  }
  return {};
}

Result<RopeScaling::Kind> rope_kind(const Json& rope, std::string_view where) {
  SKVIS_TRY(const std::string old_name, json_string_or(rope, "type", where, "default"));
  SKVIS_TRY(const std::string name, json_string_or(rope, "rope_type", where, old_name));
  if (name == "default") return RopeScaling::Kind::kNone;
  if (name == "linear") return RopeScaling::Kind::kLinear;
  if (name == "llama3") return RopeScaling::Kind::kLlama3;
  if (name == "yarn") return RopeScaling::Kind::kYarn;
  return fail("{}: rope type '{}' is not supported, expected default, linear, llama3 or yarn",
              where, name);
}

// "rope_scaling", or the newer "rope_parameters", which carries rope_theta as well.
Result<void> read_rope(const Json& json, std::string_view origin, ModelConfig& config) {
  SKVIS_TRY(config.rope_theta, json_number_or(json, "rope_theta", origin, 1.0, 1e15, 10000.0));
  SKVIS_TRY(const double partial,
            json_number_or(json, "partial_rotary_factor", origin, 0.0, 1.0, 1.0));
  const bool old_form = member(json, "rope_scaling") != nullptr;
  const std::string_view key = old_form ? "rope_scaling" : "rope_parameters";
  const Json* rope = member(json, key);
  const Json nothing = Json::object();
  if (rope == nullptr) rope = &nothing;
  const std::string where = fmt::format("{}: {}", origin, key);
  if (!rope->is_object()) return fail("{} must be an object, found {}", where, json_type(*rope));
  for (const auto& [name, value] : rope->items()) {
    if (value.is_object()) {
      return fail("{}: '{}' gives one layer type its own rotary embedding, which is not supported",
                  where, name);
    }
  }
  SKVIS_TRY(config.rope_theta,
            json_number_or(*rope, "rope_theta", where, 1.0, 1e15, config.rope_theta));
  SKVIS_TRY(const double rotary,
            json_number_or(*rope, "partial_rotary_factor", where, 0.0, 1.0, partial));
  if (rotary != 1.0) {
    return fail("{}: partial_rotary_factor must be 1, found {}", where, rotary);
  }
  RopeScaling& scaling = config.rope_scaling;
  SKVIS_TRY(scaling.kind, rope_kind(*rope, where));
  if (scaling.kind == RopeScaling::Kind::kNone) return {};
  const bool yarn = scaling.kind == RopeScaling::Kind::kYarn;
  const bool has_factor = member(*rope, "factor") != nullptr;
  if (has_factor || !yarn) {
    SKVIS_TRY(scaling.factor, json_number(*rope, "factor", where, 1e-3, 1e6));
  }
  if (scaling.kind == RopeScaling::Kind::kLinear) return {};
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  SKVIS_TRY(const size_t outer,
            size_or(json, kOriginal, origin, static_cast<int64_t>(config.context_length)));
  SKVIS_TRY(scaling.original_context,
            size_or(*rope, kOriginal, where, static_cast<int64_t>(outer)));
  if (yarn) return read_yarn(*rope, where, config, has_factor);
  SKVIS_TRY(scaling.low_freq_factor, json_number(*rope, "low_freq_factor", where, 1e-3, 1e6));
  SKVIS_TRY(scaling.high_freq_factor, json_number(*rope, "high_freq_factor", where, 1e-3, 1e6));
  return {};
}

// Fills sliding_layers from "layer_types"; answers whether the key was there.
Result<bool> read_layer_types(const Json& json, std::string_view where, ModelConfig& config) {
  const Json* types = member(json, "layer_types");
  if (types == nullptr) return false;
  if (!types->is_array() || types->size() != config.layers) {
    return fail("{}: 'layer_types' must be an array of {} strings, found {} of {}", where,
                config.layers, json_type(*types), types->size());
  }
  for (size_t i = 0; i < config.layers; ++i) {
    const Json& type = (*types)[i];
    if (type != "full_attention" && type != "sliding_attention") {
      return fail(
          "{}: layer_types[{}] must be \"full_attention\" or \"sliding_attention\", found {}",
          where, i, dump_json(type));
    }
    config.sliding_layers[i] = type == "sliding_attention";
  }
  return true;
}

Result<void> read_window(const Json& json, std::string_view where, const ClassDefaults& defaults,
                         ModelConfig& config) {
  config.sliding_layers.assign(config.layers, false);
  if (defaults.window == 0) return {};  // LlamaModel knows no window, whatever its config says
  const bool qwen = config.architecture != Architecture::kMistral;
  SKVIS_TRY(const bool used, json_bool_or(json, "use_sliding_window", where, !qwen));
  // An explicit null means no window; a missing key means the class default.
  const bool null_window = json.contains("sliding_window") && json["sliding_window"].is_null();
  if (used && !null_window) {
    SKVIS_TRY(config.sliding_window, size_or(json, "sliding_window", where, defaults.window));
  }
  SKVIS_TRY(const bool listed, read_layer_types(json, where, config));
  const bool any = std::find(config.sliding_layers.begin(), config.sliding_layers.end(), true) !=
                   config.sliding_layers.end();
  if (!config.sliding_window) {
    if (!any) return {};
    return fail("{}: 'layer_types' has sliding layers, but no 'sliding_window' is in use", where);
  }
  if (!listed) {
    SKVIS_TRY(const int64_t full,
              json_int_or(json, "max_window_layers", where, 0, kMaxSize, qwen ? 28 : 0));
    const size_t first = qwen ? static_cast<size_t>(full) : 0;
    for (size_t i = first; i < config.layers; ++i) config.sliding_layers[i] = true;
  }
  const bool slides = std::find(config.sliding_layers.begin(), config.sliding_layers.end(), true) !=
                      config.sliding_layers.end();
  if (!slides) config.sliding_window.reset();
  return {};
}

Result<void> read_sizes(const Json& json, std::string_view where, const ClassDefaults& defaults,
                        ModelConfig& config) {
  SKVIS_TRY(config.hidden_size, size_of(json, "hidden_size", where));
  SKVIS_TRY(config.intermediate_size, size_of(json, "intermediate_size", where));
  SKVIS_TRY(config.layers, size_of(json, "num_hidden_layers", where));
  SKVIS_TRY(config.heads, size_of(json, "num_attention_heads", where));
  const int64_t heads = static_cast<int64_t>(config.heads);
  SKVIS_TRY(config.kv_heads, size_or(json, "num_key_value_heads", where,
                                     defaults.kv_heads != 0 ? defaults.kv_heads : heads));
  const int64_t even = static_cast<int64_t>(config.hidden_size) / heads;
  SKVIS_TRY(config.head_dim,
            size_or(json, "head_dim", where, defaults.head_dim != 0 ? defaults.head_dim : even));
  SKVIS_TRY(config.vocab_size, size_of(json, "vocab_size", where));
  SKVIS_TRY(config.context_length,
            size_or(json, "max_position_embeddings", where, defaults.context));
  SKVIS_TRY(config.rms_norm_eps, json_number_or(json, "rms_norm_eps", where, 0.0, 1.0, 1e-6));
  // Bounded before anything is sized by it; check_config() says the rest.
  if (config.layers > 1024) {
    return fail("{}: 'num_hidden_layers' must be between 1 and 1024, found {}", where,
                config.layers);
  }
  return {};
}

Result<void> read_flags(const Json& json, std::string_view where, ModelConfig& config) {
  SKVIS_TRY(const std::string activation, json_string_or(json, "hidden_act", where, "silu"));
  if (activation != "silu") {
    return fail("{}: 'hidden_act' must be \"silu\", found \"{}\"", where, activation);
  }
  if (member(json, "quantization_config") != nullptr) {
    return fail(
        "{}: 'quantization_config': quantized weights are read from GGUF files only, expected "
        "F32, F16 or BF16 weights",
        where);
  }
  SKVIS_TRY(config.tie_word_embeddings, json_bool_or(json, "tie_word_embeddings", where, false));
  SKVIS_TRY(const bool attention_bias, json_bool_or(json, "attention_bias", where, false));
  const Architecture architecture = config.architecture;
  const bool honours = architecture == Architecture::kLlama || architecture == Architecture::kQwen3;
  config.qkv_bias = architecture == Architecture::kQwen2 || (honours && attention_bias);
  config.output_bias = honours && attention_bias;
  SKVIS_TRY(const bool mlp_bias, json_bool_or(json, "mlp_bias", where, false));
  config.mlp_bias = architecture == Architecture::kLlama && mlp_bias;
  config.qk_norm = architecture == Architecture::kQwen3;
  SKVIS_TRY(const std::string dtype, json_string_or(json, "dtype", where, ""));
  SKVIS_TRY(config.torch_dtype, json_string_or(json, "torch_dtype", where, dtype));
  return {};
}

Result<void> read_special_ids(const Json& json, std::string_view where,
                              const ClassDefaults& defaults, ModelConfig& config) {
  SKVIS_TRY(const std::vector<int32_t> bos, token_ids(json, "bos_token_id", where));
  if (!bos.empty()) config.bos_id = bos.front();
  if (!json.contains("bos_token_id") && defaults.bos >= 0) {
    config.bos_id = static_cast<int32_t>(defaults.bos);
  }
  SKVIS_TRY(config.eos_ids, token_ids(json, "eos_token_id", where));
  if (!json.contains("eos_token_id") && defaults.eos >= 0) {
    config.eos_ids = {static_cast<int32_t>(defaults.eos)};
  }
  return {};
}

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view text, std::string_view origin) {
  SKVIS_TRY(const Json json, parse_json(text, origin));
  if (!json.is_object()) {
    return fail("{}: expected an object, found {}", origin, json_type(json));
  }
  SKVIS_TRY(const ClassDefaults* defaults, find_class(json, origin));
  ModelConfig config;
  config.architecture = defaults->architecture;
  SKVIS_CHECK(read_sizes(json, origin, *defaults, config));
  SKVIS_CHECK(read_rope(json, origin, config));
  SKVIS_CHECK(read_window(json, origin, *defaults, config));
  SKVIS_CHECK(read_flags(json, origin, config));
  SKVIS_CHECK(read_special_ids(json, origin, *defaults, config));
  drop_foreign_ids(config, origin);
  SKVIS_CHECK(check_config(config, origin));
  return config;
}

Result<GenerationDefaults> parse_generation_config(std::string_view text, std::string_view origin) {
  SKVIS_TRY(const Json json, parse_json(text, origin));
  if (!json.is_object()) {
    return fail("{}: expected an object, found {}", origin, json_type(json));
  }
  GenerationDefaults defaults;
  if (member(json, "do_sample") != nullptr) {
    SKVIS_TRY(defaults.do_sample, json_bool_or(json, "do_sample", origin, false));
  }
  SKVIS_TRY(defaults.temperature, optional_number(json, "temperature", origin, 0, 1000));
  SKVIS_TRY(defaults.top_p, optional_number(json, "top_p", origin, 0, 1));
  SKVIS_TRY(defaults.min_p, optional_number(json, "min_p", origin, 0, 1));
  SKVIS_TRY(defaults.repetition_penalty,
            optional_number(json, "repetition_penalty", origin, 1e-3, 1000));
  if (member(json, "top_k") != nullptr) {
    SKVIS_TRY(defaults.top_k, json_int(json, "top_k", origin, -1, kMaxSize));
  }
  if (member(json, "max_new_tokens") != nullptr) {
    SKVIS_TRY(defaults.max_new_tokens, json_int(json, "max_new_tokens", origin, 1, kMaxSize));
  }
  SKVIS_TRY(const std::vector<int32_t> bos, token_ids(json, "bos_token_id", origin));
  if (!bos.empty()) defaults.bos_id = bos.front();
  SKVIS_TRY(defaults.eos_ids, token_ids(json, "eos_token_id", origin));
  return defaults;
}

}  // namespace skvis
