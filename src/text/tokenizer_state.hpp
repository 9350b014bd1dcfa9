// SPDX-License-Identifier: Apache-2.0
// What a Tokenizer holds; for the files that implement it.
#pragma once

#include "text/added_tokens.hpp"
#include "text/bpe.hpp"
#include "text/decoder.hpp"
#include "text/normalizer.hpp"
#include "text/pre_tokenizer.hpp"
#include "text/tokenizer.hpp"

namespace skvis {

struct Tokenizer::State {
  State(TokenizerSpec made_from, Normalizer norm, PreTokenizer pre, TokenBytes token_bytes);

  Result<void> encode_plain(std::string_view text, bool at_start, bool parse_special,
                            BytePairEncoder::Workspace& work, std::vector<uint32_t>& ids) const;
  bool exists(uint32_t id) const { return id < spec.tokens.size() && !spec.tokens[id].empty(); }

  TokenizerSpec spec;
  BytePairEncoder::Vocabulary ids;  // views into spec.tokens
  std::vector<bool> special;        // per id
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenBytes bytes;
  AddedTokenFinder raw_tokens;         // looked for in the text as it comes
  AddedTokenFinder normalized_tokens;  // looked for in normalized text
  BytePairEncoder encoder;
};

}  // namespace skvis
