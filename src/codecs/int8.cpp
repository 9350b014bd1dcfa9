// SPDX-License-Identifier: Apache-2.0
// int8: 8-bit codes with a scale and a minimum per token and head, 8 + 32 / head_dim bits.
#include "codecs/affine.hpp"
#include "codecs/entries.hpp"

namespace skvis {

constinit const Codec kInt8Codec = AffinePhases<kernels::CodeBits::eight>::codec("int8");

}  // namespace skvis
