// SPDX-License-Identifier: Apache-2.0
#include "model/dense_path.hpp"

#include "kernels/table.hpp"

namespace skvis {

WeightFormat DensePath::format_for(DType source) const {
  if (mode == DenseMode::bf16) return WeightFormat::bf16;
  if (mode == DenseMode::precise || source == DType::kF32) return WeightFormat::f32;
  return source == DType::kBF16 ? WeightFormat::bf16 : WeightFormat::f16;
}

std::string DensePath::description(WeightFormat weights) const {
  const std::string_view stored = weight_format_name(weights);
  const std::string f32 = fmt::format("{} x f32", stored);
  const auto rows = [&](RowKind kind) { return bf16_activations(kind) ? "bf16 x bf16" : f32; };
  return fmt::format("{}; prompt rows: {}, generated rows: {}", kernels->level,
                     rows(RowKind::prompt), rows(RowKind::generated));
}

Result<DensePath> choose_dense_path(DenseMode mode, std::string_view level) {
  if (level.empty()) level = kernels::level_name(kernels::active_kernels().level);
  const DenseKernels* kernels = find_dense_level(level);
  // Machines with byte dot products differ in BF16: the level means "all this machine has".
  if (kernels == nullptr && level == "avx512_vnni") kernels = dense_levels().front();
  if (kernels == nullptr && level == "sse4") kernels = find_dense_level("scalar");
  if (kernels != nullptr) return DensePath{.kernels = kernels, .mode = mode};
  std::string names;
  for (const DenseKernels* known : dense_levels()) {
    names += names.empty() ? "" : ", ";
    names += known->level;
  }
  return fail("kernel level {:?} is not available here; expected one of {}", level, names);
}

}  // namespace skvis
