// SPDX-License-Identifier: Apache-2.0
// Token ids to text, one at a time: what a stream of an answer needs.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.hpp"
#include "text/utf8.hpp"

namespace skvis {

// All pieces joined, flush() included, equal tokenizer.decode(all ids, same options).
class Detokenizer {
 public:
  // `tokenizer` must outlive this object.
  explicit Detokenizer(const Tokenizer& tokenizer, DecodeOptions options = {});

  // The text that this token completes: whole characters only, empty while one is incomplete.
  std::string push(uint32_t id);
  // The end: bytes that never became a character are one U+FFFD. Ready for a new text afterwards.
  std::string flush();

 private:
  void begin();

  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  Utf8Stream bytes_;
  bool first_ = true;      // no token has been written yet
  size_t strip_left_ = 0;  // characters still to be taken from the start
};

}  // namespace skvis
