// SPDX-License-Identifier: Apache-2.0
#include "kernels/dense.hpp"

#include <cstring>
#include <vector>

#include "kernels/portable/dense.hpp"
#include "kernels/reference/dense.hpp"
#include "kernels/x86/dense_amx.hpp"
#include "kernels/x86/dense_bf16.hpp"

namespace skvis {

std::string_view weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return "f32";
    case WeightFormat::f16:
      return "f16";
    case WeightFormat::bf16:
      return "bf16";
  }
  return "";
}

std::span<const DenseKernels* const> dense_levels() {
  static const std::vector<const DenseKernels*> levels = [] {
    std::vector<const DenseKernels*> found;
    for (const DenseKernels* kernels :
         {dense_amx_bf16(), dense_avx512_bf16(), dense_avx512(), dense_avx2(), dense_neon()}) {
      if (kernels != nullptr) found.push_back(kernels);
    }
    found.push_back(&dense_reference());
    return found;
  }();
  return levels;
}

const DenseKernels* find_dense_level(std::string_view level) {
  for (const DenseKernels* kernels : dense_levels()) {
    if (kernels->level == level) return kernels;
  }
  return nullptr;
}

void pack_strip(const DenseKernels& kernels, WeightFormat format, const float* rows,
                size_t features, size_t inputs, float* scratch, std::byte* strip) {
  float* columns = format == WeightFormat::f32 ? reinterpret_cast<float*>(strip) : scratch;
  for (size_t k = 0; k < inputs; ++k) {
    for (size_t f = 0; f < kStripFeatures; ++f) {
      columns[k * kStripFeatures + f] = f < features ? rows[f * inputs + k] : 0.0f;
    }
  }
  const size_t count = inputs * kStripFeatures;
  if (format == WeightFormat::f16) {
    kernels.to_half_row(columns, count, reinterpret_cast<Half*>(strip));
  } else if (format == WeightFormat::bf16) {
    auto* pairs = reinterpret_cast<BFloat16*>(strip);
    for (size_t k = 0; k < inputs; ++k) {
      for (size_t f = 0; f < kStripFeatures; ++f) {
        pairs[(k / 2 * kStripFeatures + f) * 2 + k % 2] =
            to_bfloat16(columns[k * kStripFeatures + f]);
      }
    }
  }
}

void unpack_feature(WeightFormat format, const std::byte* strip, size_t feature_in_strip,
                    size_t inputs, float* out) {
  const size_t f = feature_in_strip;
  for (size_t k = 0; k < inputs; ++k) {
    switch (format) {
      case WeightFormat::f32:
        out[k] = reinterpret_cast<const float*>(strip)[k * kStripFeatures + f];
        break;
      case WeightFormat::f16:
        out[k] = to_float(reinterpret_cast<const Half*>(strip)[k * kStripFeatures + f]);
        break;
      case WeightFormat::bf16:
        out[k] = to_float(
            reinterpret_cast<const BFloat16*>(strip)[(k / 2 * kStripFeatures + f) * 2 + k % 2]);
        break;
    }
  }
}

}  // namespace skvis
