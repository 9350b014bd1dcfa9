// SPDX-License-Identifier: Apache-2.0
// bf16: rows in bfloat16. Loses eight times more than f16, but no range.
#include "base/half.hpp"
#include "codecs/entries.hpp"
#include "codecs/exact.hpp"

namespace skvis {

constinit const Codec kBf16Codec = ExactPhases<BFloat16, kernels::ElementType::bf16>::codec("bf16");

}  // namespace skvis
