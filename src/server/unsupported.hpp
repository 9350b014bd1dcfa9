// SPDX-License-Identifier: Apache-2.0
// Fields that clients know and this server cannot honour: refused unless they ask for nothing.
#pragma once

#include "server/fields.hpp"

namespace skvis {

enum class Route : uint8_t { chat, completion };

void refuse_unsupported(FieldReader& reader, Route route);

}  // namespace skvis
