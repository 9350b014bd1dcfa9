// SPDX-License-Identifier: Apache-2.0
// The entries of the registry, one per file of this room.
#pragma once

#include "selectors/selector.hpp"

namespace skvis {

extern const Selector kStreaming;
extern const Selector kSnapkv;
extern const Selector kKnorm;
extern const Selector kKeydiff;
extern const Selector kLagkv;
extern const Selector kTova;
extern const Selector kChunk;

}  // namespace skvis
