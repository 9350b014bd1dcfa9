// SPDX-License-Identifier: Apache-2.0
// The entries that registry.cpp lists, one per file of this folder.
#pragma once

#include "codecs/codec.hpp"

namespace skvis {

extern const Codec kF32Codec;
extern const Codec kF16Codec;
extern const Codec kBf16Codec;
extern const Codec kInt8Codec;
extern const Codec kInt4Codec;

extern const Transform kHadamardTransform;

}  // namespace skvis
