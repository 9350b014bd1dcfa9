// SPDX-License-Identifier: Apache-2.0
// f16: rows in IEEE half precision, the full cache that everything is compared with.
#include "base/half.hpp"
#include "codecs/entries.hpp"
#include "codecs/exact.hpp"

namespace skvis {

constinit const Codec kF16Codec = ExactPhases<Half, kernels::ElementType::f16>::codec("f16");

}  // namespace skvis
