// SPDX-License-Identifier: Apache-2.0
// Hugging Face's tokenizer.json (with tokenizer_config.json) to a TokenizerSpec.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"
#include "formats/tokenizer_spec.hpp"

namespace skvis {

// `text` is a whole tokenizer.json, `origin` its name in messages. Accepts byte-level and
// SentencePiece-style BPE in the old layouts (no "type", merges as strings) and the new ones.
// Errors: invalid JSON, models other than BPE, unknown steps, merges of or into tokens that do not
// exist, ids that are out of range or given twice.
Result<TokenizerSpec> parse_tokenizer_json(std::string_view text, std::string_view origin);

// What tokenizer_config.json adds: bos_token, eos_token, add_bos_token, add_eos_token and added
// tokens that tokenizer.json lacks.
Result<void> apply_tokenizer_config(const Json& config, std::string_view origin,
                                    TokenizerSpec& spec);

// Reads `folder`/tokenizer.json and, where it is there, `folder`/tokenizer_config.json.
Result<TokenizerSpec> read_tokenizer_folder(const std::filesystem::path& folder);

}  // namespace skvis
