// SPDX-License-Identifier: Apache-2.0
// Numbers of JSON between bounds, digit by digit.
#pragma once

#include <optional>
#include <string>

#include "base/json.hpp"
#include "base/result.hpp"
#include "grammar/grammar_builder.hpp"

namespace skvis {

struct NumberBounds {
  struct Bound {
    Json value;  // a number
    bool exclusive = false;
  };
  std::optional<Bound> min, max;
};

// Integers without fraction, exponent or "-0". Where a bound is missing, up to 16 digits, or as far
// as 64 bits go where the other bound lies beyond that. Never fails to be exact: bounds are rounded
// inwards.
GrammarBuilder::Expression integer_between(GrammarBuilder& builder, const NumberBounds& bounds);

// Without bounds: up to 16 digits, up to 16 digits of a fraction, an exponent of up to 2 digits, so
// that every reader can hold the value. With bounds: no exponent, and so few digits that no two
// texts are one double where it matters. Errors: bounds beyond 1e14 or with too many digits for
// that.
Result<GrammarBuilder::Expression> number_between(GrammarBuilder& builder,
                                                  const NumberBounds& bounds);

}  // namespace skvis
