// SPDX-License-Identifier: Apache-2.0
#include "formats/model_config.hpp"

#include <cmath>

#include "base/log.hpp"

namespace skvis {
namespace {

// No model that this engine can run comes near these; files that claim more are broken or hostile.
constexpr size_t kMaxWidth = size_t{1} << 20;
constexpr size_t kMaxLayers = 1024;
constexpr size_t kMaxHeads = 1024;
constexpr size_t kMaxHeadDim = 512;
constexpr size_t kMaxVocabulary = size_t{1} << 24;
constexpr size_t kMaxContext = size_t{1} << 30;

Result<void> check_size(std::string_view where, std::string_view key, size_t found, size_t max) {
  if (found >= 1 && found <= max) return {};
  return fail("{}: {} must be between 1 and {}, found {}", where, key, max, found);
}

Result<void> check_range(std::string_view where, std::string_view key, double found, double min,
                         double max) {
  if (found >= min && found <= max) return {};
  return fail("{}: {} must be between {} and {}, found {}", where, key, min, max, found);
}

Result<void> check_sizes(const ModelConfig& config, std::string_view where) {
  SKVIS_CHECK(check_size(where, "hidden size", config.hidden_size, kMaxWidth));
  SKVIS_CHECK(check_size(where, "intermediate size", config.intermediate_size, kMaxWidth));
  SKVIS_CHECK(check_size(where, "number of layers", config.layers, kMaxLayers));
  SKVIS_CHECK(check_size(where, "number of attention heads", config.heads, kMaxHeads));
  SKVIS_CHECK(check_size(where, "number of KV heads", config.kv_heads, kMaxHeads));
  SKVIS_CHECK(check_size(where, "head_dim", config.head_dim, kMaxHeadDim));
  SKVIS_CHECK(check_size(where, "vocabulary size", config.vocab_size, kMaxVocabulary));
  SKVIS_CHECK(check_size(where, "context length", config.context_length, kMaxContext));
  if (config.heads % config.kv_heads != 0) {
    return fail("{}: {} attention heads cannot share {} KV heads evenly", where, config.heads,
                config.kv_heads);
  }
  if (config.head_dim % 8 != 0) {
    return fail("{}: head_dim must be a multiple of 8, found {}", where, config.head_dim);
  }
  return {};
}

Result<void> check_rope(const ModelConfig& config, std::string_view where) {
  const RopeScaling& scaling = config.rope_scaling;
  SKVIS_CHECK(check_range(where, "rope_theta", config.rope_theta, 1.0, 1e15));
  SKVIS_CHECK(check_range(where, "rope scaling factor", scaling.factor, 1e-3, 1e6));
  if (!config.rope_frequency_factors.empty() &&
      config.rope_frequency_factors.size() != config.head_dim / 2) {
    return fail("{}: {} rotary frequency factors, expected head_dim / 2 = {}", where,
                config.rope_frequency_factors.size(), config.head_dim / 2);
  }
  for (const float factor : config.rope_frequency_factors) {
    SKVIS_CHECK(check_range(where, "rotary frequency factor", factor, 1e-6, 1e9));
  }
  if (scaling.kind != RopeScaling::Kind::kLlama3 && scaling.kind != RopeScaling::Kind::kYarn) {
    return {};
  }
  SKVIS_CHECK(check_size(where, "original context length of the rope scaling",
                         scaling.original_context, kMaxContext));
  if (scaling.kind == RopeScaling::Kind::kLlama3) {
    SKVIS_CHECK(check_range(where, "low_freq_factor", scaling.low_freq_factor, 1e-3, 1e6));
    SKVIS_CHECK(check_range(where, "high_freq_factor", scaling.high_freq_factor, 1e-3, 1e6));
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      return fail("{}: high_freq_factor {} must be above low_freq_factor {}", where,
                  scaling.high_freq_factor, scaling.low_freq_factor);
    }
    return {};
  }
  if (config.rope_theta == 1.0) return fail("{}: yarn needs a rope_theta above 1", where);
  SKVIS_CHECK(check_range(where, "beta_fast", scaling.beta_fast, 1e-3, 1e6));
  SKVIS_CHECK(check_range(where, "beta_slow", scaling.beta_slow, 1e-3, 1e6));
  if (scaling.beta_fast < scaling.beta_slow) {
    return fail("{}: beta_fast {} must not be below beta_slow {}", where, scaling.beta_fast,
                scaling.beta_slow);
  }
  return check_range(where, "yarn's attention factor", rope_attention_factor(scaling), 1e-3, 1e3);
}

Result<void> check_window(const ModelConfig& config, std::string_view where) {
  if (config.sliding_layers.size() != config.layers) {
    return fail("{}: sliding flags for {} layers, expected {}", where, config.sliding_layers.size(),
                config.layers);
  }
  if (!config.sliding_window) return {};
  return check_size(where, "sliding window", *config.sliding_window, kMaxContext);
}

Result<void> check_ids(const ModelConfig& config, std::string_view where) {
  const auto check = [&](std::string_view key, int32_t id) -> Result<void> {
    if (id >= 0 && static_cast<size_t>(id) < config.vocab_size) return {};
    return fail("{}: {} is {}, outside the vocabulary of {}", where, key, id, config.vocab_size);
  };
  if (config.bos_id) SKVIS_CHECK(check("bos token id", *config.bos_id));
  for (const int32_t id : config.eos_ids) SKVIS_CHECK(check("eos token id", id));
  return {};
}

}  // namespace

std::string_view architecture_name(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return "llama";
    case Architecture::kMistral:
      return "mistral";
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
  }
  return "?";
}

std::string_view rope_scaling_name(RopeScaling::Kind kind) {
  switch (kind) {
    case RopeScaling::Kind::kNone:
      return "none";
    case RopeScaling::Kind::kLinear:
      return "linear";
    case RopeScaling::Kind::kLlama3:
      return "llama3";
    case RopeScaling::Kind::kYarn:
      return "yarn";
  }
  return "?";
}

double rope_attention_factor(const RopeScaling& scaling) {
  if (scaling.kind != RopeScaling::Kind::kYarn) return 1.0;
  if (scaling.attention_factor) return *scaling.attention_factor;
  const auto temperature = [&](double mscale) {
    return scaling.factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(scaling.factor) + 1.0;
  };
  const double mscale = scaling.mscale.value_or(0.0);
  const double mscale_all_dim = scaling.mscale_all_dim.value_or(0.0);
  if (mscale != 0.0 && mscale_all_dim != 0.0) {
    return temperature(mscale) / temperature(mscale_all_dim);
  }
  return temperature(1.0);
}

void drop_foreign_ids(ModelConfig& config, std::string_view where) {
  const auto foreign = [&](int32_t id) {
    if (id >= 0 && static_cast<size_t>(id) < config.vocab_size) return false;
    spdlog::warn("{}: special token id {} lies outside the vocabulary of {} and is ignored", where,
                 id, config.vocab_size);
    return true;
  };
  if (config.bos_id && foreign(*config.bos_id)) config.bos_id.reset();
  std::erase_if(config.eos_ids, foreign);
}

Result<void> check_config(const ModelConfig& config, std::string_view where) {
  SKVIS_CHECK(check_sizes(config, where));
  SKVIS_CHECK(check_range(where, "rms_norm_eps", config.rms_norm_eps, 0.0, 1.0));
  SKVIS_CHECK(check_rope(config, where));
  SKVIS_CHECK(check_window(config, where));
  return check_ids(config, where);
}

}  // namespace skvis
