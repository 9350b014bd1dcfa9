// SPDX-License-Identifier: Apache-2.0
// f32: rows as they are. For --precise and tests.
#include "codecs/entries.hpp"
#include "codecs/exact.hpp"

namespace skvis {

constinit const Codec kF32Codec = ExactPhases<float, kernels::ElementType::f32>::codec("f32");

}  // namespace skvis
