// SPDX-License-Identifier: Apache-2.0
#include "kernels/portable/portable.hpp"

#include "kernels/portable/targets.hpp"

#include "hwy/targets.h"

#define SKVIS_DECLARE_TARGET(target)     \
  namespace skvis::kernels::target {     \
  void fill_exact(Kernels& table);       \
  void fill_elements(Kernels& table);    \
  void fill_codes(Kernels& table);       \
  void fill_quantise(Kernels& table);    \
  void fill_softmax(Kernels& table);     \
  inline bool fill_all(Kernels& table) { \
    fill_exact(table);                   \
    fill_elements(table);                \
    fill_codes(table);                   \
    fill_quantise(table);                \
    fill_softmax(table);                 \
    return true;                         \
  }                                      \
  }

#if HWY_TARGETS & HWY_SSE4
SKVIS_DECLARE_TARGET(N_SSE4)
#endif
#if HWY_TARGETS & HWY_NEON
SKVIS_DECLARE_TARGET(N_NEON)
#endif
#if HWY_TARGETS & HWY_AVX2
SKVIS_DECLARE_TARGET(N_AVX2)
#endif
#if HWY_TARGETS & HWY_AVX3
SKVIS_DECLARE_TARGET(N_AVX3)
#endif

namespace skvis::kernels::portable {

bool fill(Level level, [[maybe_unused]] Kernels& table) {
  [[maybe_unused]] const int64_t supported = hwy::SupportedTargets();
#if HWY_TARGETS & HWY_SSE4
  if (level == Level::sse4) return (supported & HWY_SSE4) != 0 && N_SSE4::fill_all(table);
#endif
#if HWY_TARGETS & HWY_NEON
  if (level == Level::neon) return (supported & HWY_NEON) != 0 && N_NEON::fill_all(table);
#endif
#if HWY_TARGETS & HWY_AVX2
  if (level == Level::avx2) return (supported & HWY_AVX2) != 0 && N_AVX2::fill_all(table);
#endif
#if HWY_TARGETS & HWY_AVX3
  if (level == Level::avx512) return (supported & HWY_AVX3) != 0 && N_AVX3::fill_all(table);
#endif
  return false;
}

}  // namespace skvis::kernels::portable
