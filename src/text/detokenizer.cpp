// SPDX-License-Identifier: Apache-2.0
#include "text/detokenizer.hpp"

#include "text/tokenizer_state.hpp"

namespace skvis {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, DecodeOptions options)
    : tokenizer_(&tokenizer), options_(options) {
  begin();
}

void Detokenizer::begin() {
  first_ = !options_.continues;
  strip_left_ = options_.continues ? 0 : tokenizer_->state_->bytes.strip_start();
}

std::string Detokenizer::push(uint32_t id) {
  const Tokenizer::State& state = *tokenizer_->state_;
  std::string text;
  if (!state.exists(id) || (options_.skip_special && state.special[id])) return text;
  if (!first_) bytes_.push(state.bytes.separator(), text);
  first_ = false;
  std::string_view bytes = state.bytes.of(id);
  while (strip_left_ > 0 && !bytes.empty()) {
    if (bytes[0] == state.bytes.strip_character()) {
      bytes.remove_prefix(1);
      --strip_left_;
    } else {
      strip_left_ = 0;
    }
  }
  bytes_.push(bytes, text);
  return text;
}

std::string Detokenizer::flush() {
  std::string text;
  bytes_.flush(text);
  begin();
  return text;
}

}  // namespace skvis
