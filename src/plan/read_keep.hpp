// SPDX-License-Identifier: Apache-2.0
// The `keep` object of a plan: selector with its parameters, budget, amount, table.
#pragma once

#include "plan/fields.hpp"
#include "plan/read.hpp"

namespace skvis {

// An object or its short form ("snapkv:0.5").
KeepSpec read_keep(const Json& keep, Problems& problems);

// `layers` and `heads` of a rule: text, or the number of a single one.
void read_where(Fields& fields, Where& where);

std::vector<std::string_view> keep_keys_with_parameters();

}  // namespace skvis
