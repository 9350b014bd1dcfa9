// SPDX-License-Identifier: Apache-2.0
// The keywords of JSON schema: what is known of each, references, and the merging of schemas.
#pragma once

#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"

namespace skvis {

// An instance type of JSON schema that a keyword is about; `any` for all.
enum class KeywordScope { any, object, array, string, number };

// Ignored: describes, identifies or holds definitions, and validates nothing.
bool is_annotation(std::string_view keyword);

// Error: `pointer` is no schema object, or has a keyword that is unknown or not supported.
Result<void> check_keywords(const Json& schema, const std::string& pointer);

// Whether `schema` (an object) has validating keywords about `scope`.
bool has_keywords(const Json& schema, KeywordScope scope);

// What "#", "#/$defs/name" and the like refer to, in the document `root`.
Result<const Json*> find_reference(const Json& root, const Json& reference,
                                   const std::string& pointer);

// `pointer` with one more step, escaped.
std::string pointer_to(const std::string& pointer, std::string_view step);

// A schema that allows exactly what `a` and `b` both allow. References to `root` and nested allOf
// at their tops are resolved. Error: no such schema can be written.
Result<Json> merge_schemas(const Json& root, const Json& a, const Json& b,
                           const std::string& pointer);

}  // namespace skvis
