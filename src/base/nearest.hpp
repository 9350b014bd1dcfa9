// SPDX-License-Identifier: Apache-2.0
// The nearest valid name to a mistyped one, for error messages.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace skvis {

// The candidate that `word` was probably meant to be: the fewest inserted, dropped, changed or
// swapped letters, at most a third of its length (at least one); the first of equals. Empty if none
// is that near. Case is ignored.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates);

// The tail of a message about an unknown name: "; did you mean 'int8'?" if one is near, else
// "; expected one of int8, int4".
std::string suggestion(std::string_view word, std::span<const std::string_view> candidates);

// A user's text made fit for a message: quoted, control characters replaced, long text cut.
std::string in_quotes(std::string_view text);

}  // namespace skvis
