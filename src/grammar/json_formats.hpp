// SPDX-License-Identifier: Apache-2.0
// The `format` keyword of JSON schema: each known format as a pattern whose texts are all of it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace skvis {

// A pattern for the whole string; nothing for an unknown format.
std::optional<std::string> pattern_of_format(std::string_view format);

// "date, time, ...": for messages.
std::string supported_formats();

}  // namespace skvis
