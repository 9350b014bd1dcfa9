// SPDX-License-Identifier: Apache-2.0
// Byte dot products (AVX512-VNNI), which Highway 1.0.3 cannot emit.
#pragma once

#include "kernels/table.hpp"

namespace skvis::kernels::x86 {

// Replaces the code products of the avx512 level; false if this machine or build has none.
bool fill_vnni(Kernels& table);

}  // namespace skvis::kernels::x86
