// SPDX-License-Identifier: Apache-2.0
// GPT-2's alphabet of bytes: one printable character for each of the 256 bytes, so that a
// vocabulary is readable text. Printable ASCII and Latin-1 stand for themselves, the other 68 bytes
// take U+0100 and on in order (encoder.py of the GPT-2 release).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace skvis {

// The character of every byte, as UTF-8.
const std::array<std::string, 256>& byte_alphabet();

// The byte that a character stands for, if it is one of the alphabet.
std::optional<uint8_t> byte_of_letter(uint32_t code_point);

// The bytes a token stands for, or nothing when it holds a character outside the alphabet.
std::optional<std::string> spell_out_bytes(std::string_view token);

}  // namespace skvis
