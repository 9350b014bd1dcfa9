// SPDX-License-Identifier: Apache-2.0
// JSON schemas (2020-12, and what draft 7 and OpenAPI 3.0 write otherwise) as grammars: every text
// of the grammar is a document that validates. docs/structured-output.md says what is supported and
// where the grammar allows less than the schema.
#pragma once

#include "base/json.hpp"
#include "base/result.hpp"
#include "grammar/grammar.hpp"

namespace skvis {

struct JsonSchemaOptions {
  bool compact = false;  // no blanks between tokens
};

// Errors name the place in the schema as a JSON pointer: a keyword that is unknown or not
// supported, a value of the wrong type, a reference that leads nowhere, parts of allOf that cannot
// be merged exactly, a schema that no document can satisfy, nesting or size beyond the limits.
Result<Grammar> compile_json_schema(const Json& schema, const JsonSchemaOptions& options = {});

// Any JSON object.
Result<Grammar> compile_json_object(const JsonSchemaOptions& options = {});

}  // namespace skvis
