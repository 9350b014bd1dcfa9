// SPDX-License-Identifier: Apache-2.0
// The one-line form of a plan: "key=int4 hadamard value=int4 keep=snapkv:0.5 sinks=4".
#pragma once

#include <string_view>

#include "base/json.hpp"
#include "plan/problems.hpp"

namespace skvis {

// The same plan as an object, starting from `base` (an empty object, or a preset to change).
Json plan_from_line(std::string_view line, Json base, Problems& problems);

// Is the word a codec, a transform, or a selector with or without amount?
bool is_bare_word(std::string_view word);

}  // namespace skvis
