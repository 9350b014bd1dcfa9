// SPDX-License-Identifier: Apache-2.0
// Reads tokenizer.json event by event: its vocabulary and merges, hundreds of thousands of entries,
// go straight into flat lists, and only the small rest becomes a JSON value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace skvis {

struct RawTokenizer {
  Json document;                                             // without model.vocab and model.merges
  std::vector<std::pair<std::string, uint32_t>> vocabulary;  // as listed, texts may repeat
  std::vector<std::pair<std::string, std::string>> merges;
  bool has_vocabulary = false;
  bool has_merges = false;
};

// Errors: invalid JSON, ids above kMaxVocabulary, malformed merges, more entries than any tokenizer
// has, nesting or a rest larger than any has.
Result<RawTokenizer> read_raw_tokenizer(std::string_view text, std::string_view origin);

}  // namespace skvis
