// SPDX-License-Identifier: Apache-2.0
// Dense compute written once with Highway and compiled for each vector width.
#pragma once

#include "kernels/dense.hpp"

namespace skvis {

// Null when this build or this machine has no such level.
const DenseKernels* dense_avx512();
const DenseKernels* dense_avx2();
const DenseKernels* dense_neon();

}  // namespace skvis
