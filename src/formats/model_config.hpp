// SPDX-License-Identifier: Apache-2.0
// What a model is: its shape and its constants, whichever file format they came from. Flags say
// what the forward pass does; `architecture` is only the name under which the file came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace skvis {

enum class Architecture : uint8_t { kLlama, kMistral, kQwen2, kQwen3 };

std::string_view architecture_name(Architecture architecture);

// How the rotary frequencies are stretched for contexts longer than those of training; names and
// meaning as in Hugging Face's rope_scaling.
struct RopeScaling {
  enum class Kind : uint8_t { kNone, kLinear, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  size_t original_context = 0;  // original_max_position_embeddings; set for llama3 and yarn
  // llama3
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  // yarn
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::optional<double> attention_factor;  // absent: from factor, or from mscale and mscale_all_dim
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  bool truncate = true;  // round the borders of the correction range to whole dimensions
};

std::string_view rope_scaling_name(RopeScaling::Kind kind);

// By what yarn multiplies cosine and sine (attention temperature, arXiv 2309.00071, as Hugging Face
// resolves it); 1 for every other kind.
double rope_attention_factor(const RopeScaling& scaling);

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  size_t hidden_size = 0;
  size_t intermediate_size = 0;
  size_t layers = 0;
  size_t heads = 0;
  size_t kv_heads = 0;
  size_t head_dim = 0;
  size_t vocab_size = 0;
  size_t context_length = 0;  // tokens; yarn's stretched length included
  double rms_norm_eps = 1e-6;

  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  // Empty, or head_dim / 2 divisors: frequency i is theta^(-2i/head_dim) /
  // rope_frequency_factors[i]. GGUF files carry llama3 scaling in this form (then rope_scaling is
  // kNone).
  std::vector<float> rope_frequency_factors;

  bool tie_word_embeddings = false;
  bool qkv_bias = false;     // q_proj.bias, k_proj.bias, v_proj.bias
  bool output_bias = false;  // o_proj.bias
  bool mlp_bias = false;     // gate_proj.bias, up_proj.bias, down_proj.bias
  bool qk_norm = false;  // q_norm.weight and k_norm.weight, [head_dim], before the rotary embedding

  // A sliding layer attends to its last `sliding_window` tokens, itself included. Absent: no layer
  // slides. sliding_layers has one entry per layer.
  std::optional<size_t> sliding_window;
  std::vector<bool> sliding_layers;

  std::optional<int32_t> bos_id;
  std::vector<int32_t> eos_ids;
  std::string torch_dtype;  // for information

  bool slides(size_t layer) const { return sliding_window.has_value() && sliding_layers[layer]; }
  size_t group_size() const { return heads / kv_heads; }
};

// Forgets special token ids outside the vocabulary, with a warning: files copied from a larger
// model carry them, no such token can be read or written.
void drop_foreign_ids(ModelConfig& config, std::string_view where);

// Refuses nonsense: zero or huge sizes, heads that kv_heads does not divide, a head_dim that is no
// multiple of 8 or above 512, lists of a wrong length, non-finite constants. `where` begins the
// message.
Result<void> check_config(const ModelConfig& config, std::string_view where);

// What generation_config.json (or a GGUF file) recommends; absent where it says nothing.
struct GenerationDefaults {
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<int64_t> top_k;
  std::optional<int64_t> max_new_tokens;
  std::optional<int32_t> bos_id;
  std::vector<int32_t> eos_ids;  // empty: those of the model's config
};

}  // namespace skvis
