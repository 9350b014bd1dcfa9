// SPDX-License-Identifier: Apache-2.0
// Products of BF16 pairs with AVX-512 BF16 (VDPBF16PS), which Highway 1.0.3 cannot emit.
#pragma once

#include "kernels/dense.hpp"

namespace skvis {

// The functions of the level "avx512" with the BF16 ones added; null where the machine lacks them.
const DenseKernels* dense_avx512_bf16();

// The tile's F16 or F32 weights rounded to BF16 strips, out[strips][inputs / 2][16][2]. Needs
// AVX-512 BF16.
void round_weights_to_bfloat16(const LinearTile& tile, BFloat16* out);

}  // namespace skvis
