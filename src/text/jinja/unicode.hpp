// SPDX-License-Identifier: Apache-2.0
// Text as templates see it: a sequence of code points, stored as UTF-8. A byte that belongs to no
// valid sequence counts as one code point (U+FFFD), so that no input can make these functions fail.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skvis::jinja {

// The code point at `position`, which moves behind it. `position` must be below text.size().
char32_t decode(std::string_view text, size_t& position);
void append_utf8(std::string& text, char32_t code_point);

size_t count_characters(std::string_view text);
// One view into `text` per code point.
std::vector<std::string_view> characters(std::string_view text);

// White space and printability as Python's str.isspace and str.isprintable define them.
bool is_space(char32_t code_point);
bool is_printable(char32_t code_point);
bool is_cased(char32_t code_point);
bool is_letter(char32_t code_point);
bool is_digit(char32_t code_point);
bool is_alphanumeric(char32_t code_point);

// Removes white space, or the code points of `set`, from the chosen ends.
std::string_view strip(std::string_view text, bool left, bool right,
                       std::optional<std::string_view> set = std::nullopt);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
// First code point in title case, the others in lower case.
std::string capitalize(std::string_view text);
// Every run of letters capitalized, as str.title does.
std::string title(std::string_view text);

// Lines without their ends; an end of line at the end of the text adds no empty line.
std::vector<std::string_view> split_lines(std::string_view text);

}  // namespace skvis::jinja
