// SPDX-License-Identifier: Apache-2.0
// The tables of filters, by what they work on. apply_filter in runtime.hpp looks through all.
#pragma once

#include <span>

#include "text/jinja/runtime.hpp"

namespace skvis::jinja {

std::span<const Builtin> text_filters();
std::span<const Builtin> value_filters();
std::span<const Builtin> sequence_filters();
std::span<const Builtin> selection_filters();

// The key by which sort, min, unique, ... compare: the item or its member `attribute` (null: the
// item itself); strings in lower case unless `case_sensitive`.
Result<Value> comparison_key(Runtime& runtime, const Value& item, const Value* attribute,
                             bool case_sensitive);

}  // namespace skvis::jinja
