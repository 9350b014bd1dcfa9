// SPDX-License-Identifier: Apache-2.0
// Kernels written once with Highway and compiled per target.
#pragma once

#include "kernels/table.hpp"

namespace skvis::kernels::portable {

// Replaces the functions of `table` by those of `level`; false if this machine or build has none.
bool fill(Level level, Kernels& table);

}  // namespace skvis::kernels::portable
