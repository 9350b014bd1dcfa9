// SPDX-License-Identifier: Apache-2.0
// From ids back to bytes. What decoder steps do to single tokens is done once, when the tokenizer
// is made; what remains for a text are its leading spaces and the joining of bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "formats/tokenizer_spec.hpp"

namespace skvis {

class TokenBytes {
 public:
  // Added tokens stand for their content as it is. Error: a step that cannot work on a stream.
  static Result<TokenBytes> create(const TokenizerSpec& spec);

  // Empty for an id without a token.
  std::string_view of(uint32_t id) const {
    if (id >= ends_.size()) return {};
    const size_t begin = id == 0 ? 0 : ends_[id - 1];
    return std::string_view(bytes_).substr(begin, ends_[id] - begin);
  }

  // At most so many `strip_character`s are taken from the start of a text.
  size_t strip_start() const { return strip_start_; }
  char strip_character() const { return strip_character_; }
  // What stands between two tokens: nothing, or a space where the file has no decoder.
  std::string_view separator() const { return separator_; }

 private:
  std::string bytes_;
  std::vector<size_t> ends_;
  size_t strip_start_ = 0;
  char strip_character_ = ' ';
  std::string_view separator_;
};

}  // namespace skvis
