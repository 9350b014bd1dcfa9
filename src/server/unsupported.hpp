// SPDX-License-Identifier: Apache-2.0
// Fields that clients know and this server cannot honour: refused unless they ask for nothing.
#pragma once

#include "server/fields.hpp"

namespace skvis {

void refuse_unsupported(FieldReader& reader);

}  // namespace skvis
