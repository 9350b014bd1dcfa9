// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back. A Tokenizer is immutable after create(): any number of threads may
// use it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "formats/tokenizer_spec.hpp"

namespace skvis {

struct EncodeOptions {
  bool add_special = false;  // put what the tokenizer puts around a text (BOS, EOS)
  bool parse_special =
      true;  // special tokens written in the text become their ids; else plain text
};

struct DecodeOptions {
  bool skip_special = false;
  // The ids continue an earlier text: the space that SentencePiece puts before a text is then one
  // of the text's own and stays.
  bool continues = false;
};

class Tokenizer {
 public:
  // Compiles patterns and tables. Errors: a pattern that is no regular expression or uses what this
  // program does not support, a decoder step in a place where it cannot be streamed.
  static Result<Tokenizer> create(TokenizerSpec spec);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Errors: text that is not UTF-8 (the message gives the byte), a pattern that exceeds its limits.
  Result<std::vector<uint32_t>> encode(std::string_view text, EncodeOptions options = {}) const;

  // Always UTF-8: bytes that form no character become U+FFFD. Ids without a token are skipped.
  std::string decode(std::span<const uint32_t> ids, DecodeOptions options = {}) const;

  // The bytes a token stands for inside a text (part of a character, for some); empty for an id
  // without a token. Valid as long as the tokenizer. A space before the first word is included.
  std::string_view token_bytes(uint32_t id) const;
  // What a text has between two tokens: nothing, or a space where the tokenizer has no decoder.
  std::string_view separator() const;
  // The token as the vocabulary spells it ("Ġworld", "<0x0A>"), or empty.
  std::string_view token_text(uint32_t id) const;
  // The id of a token spelled as in the vocabulary, added tokens included.
  std::optional<uint32_t> find(std::string_view token) const;

  size_t vocabulary_size() const;  // highest id + 1
  bool is_special(uint32_t id) const;
  std::optional<uint32_t> bos() const;
  std::optional<uint32_t> eos() const;
  // Tokens by which the model ends its answer: eos first, then other known ends of a turn.
  const std::vector<uint32_t>& end_ids() const;

 private:
  friend class Detokenizer;
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace skvis
