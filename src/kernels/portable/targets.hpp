// SPDX-License-Identifier: Apache-2.0
// The convention of this folder. A file is compiled once per target, each time inside the namespace
// of that target (skvis::kernels::N_AVX2 and so on), and defines one function
// fill_<family>(Kernels&) there; portable.cpp picks. A file begins with (the
// empty line keeps clang-format from sorting)
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "kernels/portable/<file>.cpp"
//   #include "kernels/portable/targets.hpp"
//
//   #include "hwy/foreach_target.h"
//   #include "hwy/highway.h"
#pragma once

// One target more than the levels of PC servers: SSE4, the least an x86 machine may have. Given as
// the baseline, because with GCC before 12.3 Highway would take single lanes instead.
#if defined(__x86_64__)
#define HWY_BASELINE_TARGETS HWY_SSE4
#endif
// Targets without a level of ours. AVX3_DL must stay off: Highway 1.0.3 emits AVX-VNNI there and
// checks for AVX512-VNNI.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2)

// GCC 12 takes the deliberately undefined operands inside its own intrinsics for uninitialised
// reads.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
