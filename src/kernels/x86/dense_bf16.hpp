// SPDX-License-Identifier: Apache-2.0
// Products of BF16 pairs with AVX-512 BF16 (VDPBF16PS), which Highway 1.0.3 cannot emit.
#pragma once

#include "kernels/dense.hpp"

namespace skvis {

// The functions of the level "avx512" with the BF16 ones added; null where the machine lacks them.
const DenseKernels* dense_avx512_bf16();

}  // namespace skvis
