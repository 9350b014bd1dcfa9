// SPDX-License-Identifier: Apache-2.0
// UTF-8: check it, walk it, and mend it as it arrives in pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skvis {

// Offset of the first byte that does not belong to a well-formed character, or nothing.
std::optional<size_t> find_invalid_utf8(std::string_view text);

// Bytes of the character that `lead` begins, in text known to be UTF-8.
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// The code point at `text[0]`, in text known to be UTF-8 and not empty.
uint32_t utf8_code_point(std::string_view text);

void append_utf8(uint32_t code_point, std::string& out);

// Takes bytes in any portions and gives whole characters. Malformed bytes become U+FFFD by the
// Unicode Standard's "maximal subpart" rule (section 3.9), so that portions do not change the
// result.
class Utf8Stream {
 public:
  void push(std::string_view bytes, std::string& out);
  void flush(std::string& out);

 private:
  std::string pending_;  // a beginning of a character, at most three bytes
};

}  // namespace skvis
