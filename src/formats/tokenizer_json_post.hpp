// SPDX-License-Identifier: Apache-2.0
// Parts of tokenizer.json that concern single special tokens.
#pragma once

#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"
#include "formats/tokenizer_spec.hpp"

namespace skvis {

// Reads what is put before and after a text (the "single" template) into spec.prefix and
// spec.suffix; `value` is null for none.
Result<void> parse_post_processor(const Json& value, std::string_view origin, TokenizerSpec& spec);

// An entry of "added_tokens" or "added_tokens_decoder". The id is the caller's.
Result<AddedToken> parse_added_token(const Json& value, uint32_t id, const std::string& where);

}  // namespace skvis
