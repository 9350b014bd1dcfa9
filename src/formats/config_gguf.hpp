// SPDX-License-Identifier: Apache-2.0
// A GGUF file's metadata as ModelConfig, and its tensor names as Hugging Face names.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "formats/gguf.hpp"
#include "formats/model_config.hpp"

namespace skvis {

// Finds a tensor by its GGUF name in whichever of the split files holds it; nothing when none does.
using GgufTensorFinder = std::function<Result<std::optional<TensorView>>(std::string_view)>;

// Reads the keys of architectures llama (which stands for mistral, too), qwen2 and qwen3. What the
// metadata does not say, biases, q/k norm, tied embeddings, vocabulary and rotary factors, is seen
// from the tensors. The answer has passed check_config().
Result<ModelConfig> config_from_gguf(const GgufFile& file, const GgufTensorFinder& find_tensor);

GenerationDefaults generation_from_gguf(const GgufFile& file);

// Chat templates by name; the unnamed one is "default".
std::map<std::string, std::string> templates_from_gguf(const GgufFile& file);

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; nothing for names without a
// counterpart.
std::optional<std::string> hugging_face_name(std::string_view gguf_name);

}  // namespace skvis
