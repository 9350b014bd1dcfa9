// SPDX-License-Identifier: Apache-2.0
// The normalizer, pre-tokenizer and decoder of a tokenizer.json, flattened into steps.
#pragma once

#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "formats/tokenizer_spec.hpp"

namespace skvis {

// `value` is the member of the document, null for none. Errors name the step and its key.
Result<std::vector<NormalizerStep>> parse_normalizer(const Json& value, std::string_view origin);
Result<std::vector<PreTokenizerStep>> parse_pre_tokenizer(const Json& value,
                                                          std::string_view origin);
Result<std::vector<DecoderStep>> parse_decoder(const Json& value, std::string_view origin);

// `object[key]`, or null when it is missing or `object` is no object.
const Json& json_member(const Json& object, std::string_view key);

}  // namespace skvis
