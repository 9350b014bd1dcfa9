// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "text/tokenizer.hpp"

namespace skvis {

class GgufFile;

// From a Hugging Face folder: tokenizer.json, and tokenizer_config.json where it is there.
Result<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

// From the metadata of a GGUF file; the file is not needed afterwards.
Result<Tokenizer> load_tokenizer(const GgufFile& gguf);

}  // namespace skvis
