// SPDX-License-Identifier: Apache-2.0
// int4: 4-bit codes with a scale and a minimum per token and head, 4 + 32 / head_dim bits. Plain
// int4 keys cost reasoning models dearly; "int4 hadamard" is the one to use (SAW-INT4, 2026).
#include "codecs/affine.hpp"
#include "codecs/entries.hpp"

namespace skvis {

constinit const Codec kInt4Codec = AffinePhases<kernels::CodeBits::four>::codec("int4");

}  // namespace skvis
