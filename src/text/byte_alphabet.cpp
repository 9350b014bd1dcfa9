// SPDX-License-Identifier: Apache-2.0
#include "text/byte_alphabet.hpp"

#include "text/utf8.hpp"

namespace skvis {
namespace {

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
         (byte >= 0xae && byte <= 0xff);
}

constexpr uint32_t kFirstMoved = 0x100;

struct Alphabet {
  std::array<std::string, 256> letters;
  std::array<uint8_t, 68> moved;  // the byte of U+0100 + i
};

const Alphabet& alphabet() {
  static const Alphabet made = [] {
    Alphabet result;
    uint32_t moved = 0;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      if (stands_for_itself(byte)) {
        append_utf8(byte, result.letters[byte]);
      } else {
        result.moved[moved] = static_cast<uint8_t>(byte);
        append_utf8(kFirstMoved + moved, result.letters[byte]);
        ++moved;
      }
    }
    return result;
  }();
  return made;
}

}  // namespace

const std::array<std::string, 256>& byte_alphabet() {
  return alphabet().letters;
}

std::optional<uint8_t> byte_of_letter(uint32_t code_point) {
  if (code_point < 0x100) {
    if (stands_for_itself(code_point)) return static_cast<uint8_t>(code_point);
    return std::nullopt;
  }
  const auto& moved = alphabet().moved;
  if (code_point - kFirstMoved < moved.size()) return moved[code_point - kFirstMoved];
  return std::nullopt;
}

std::optional<std::string> spell_out_bytes(std::string_view token) {
  std::string bytes;
  for (size_t i = 0; i < token.size(); i += utf8_length(token[i])) {
    const auto byte = byte_of_letter(utf8_code_point(token.substr(i)));
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
  }
  return bytes;
}

}  // namespace skvis
