// SPDX-License-Identifier: Apache-2.0
// The fields that both completion routes share, read into AnswerOptions.
#pragma once

#include "server/fields.hpp"
#include "server/request.hpp"

namespace skvis {

enum class Route : uint8_t { chat, completion };

// Errors are kept by the reader.
void read_options(FieldReader& reader, Route route, AnswerOptions& options);

}  // namespace skvis
