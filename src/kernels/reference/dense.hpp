// SPDX-License-Identifier: Apache-2.0
// The level "scalar": plain loops that say what the others must compute.
#pragma once

#include "kernels/dense.hpp"

namespace skvis {

const DenseKernels& dense_reference();

}  // namespace skvis
