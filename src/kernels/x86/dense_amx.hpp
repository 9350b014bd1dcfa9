// SPDX-License-Identifier: Apache-2.0
// Products of BF16 with the matrix unit of AMX (TDPBF16PS), eight times the arithmetic of AVX-512
// BF16.
#pragma once

#include "kernels/dense.hpp"

namespace skvis {

// The functions of the level "avx512_bf16" with products on the matrix unit; null where the machine
// or its kernel does not offer one. The first call asks the kernel for the unit's registers, for
// every thread of the process.
const DenseKernels* dense_amx_bf16();

}  // namespace skvis
