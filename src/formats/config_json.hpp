// SPDX-License-Identifier: Apache-2.0
// Hugging Face's config.json and generation_config.json as checked structs.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "formats/model_config.hpp"

namespace skvis {

// `origin` (the file's name) begins every message. The answer has passed check_config().
Result<ModelConfig> parse_model_config(std::string_view text, std::string_view origin);

Result<GenerationDefaults> parse_generation_config(std::string_view text, std::string_view origin);

}  // namespace skvis
