// SPDX-License-Identifier: Apache-2.0
// How a model multiplies: which kernels, how weights are stored, and what activations look like.
// Chosen once at load, by machine and weight format; afterwards only the kind of a row decides.
#pragma once

#include <string>
#include <string_view>

#include "attention/layer_cache.hpp"
#include "base/result.hpp"
#include "formats/tensor.hpp"
#include "kernels/dense.hpp"

namespace skvis {

// precise: weights and activations in F32 throughout. fast: see below. bf16: both in BF16 for all
// rows, where the machine has such products: for large batches of generated rows, which they
// double.
enum class DenseMode : uint8_t { precise, fast, bf16 };

struct DensePath {
  const DenseKernels* kernels = nullptr;
  DenseMode mode = DenseMode::fast;

  // How a tensor is stored once packed. Fast: as exact as the file in at most the file's width, and
  // two bytes for quantized tensors (F16 loses 2^-12 of a value, an eighth of what BF16 loses).
  WeightFormat format_for(DType source) const;
  // Prompt rows are bound by arithmetic, and BF16 products double it; generated rows are bound by
  // reading weights, where F32 activations cost nothing and are more exact. That holds for up to
  // about seven sequences at once; beyond, mode bf16 is for them as well.
  bool bf16_activations(RowKind kind) const {
    if (kernels->linear_bf16 == nullptr) return false;
    return mode == DenseMode::bf16 || (mode == DenseMode::fast && kind == RowKind::prompt);
  }
  // "avx512_bf16; prompt rows: bf16 x bf16, generated rows: f16 x f32"
  std::string description(WeightFormat weights) const;
};

// `level` is the name of a kernel level, of the dense kernels or of the attention kernels; empty:
// the active one, which is the best of this machine unless another was forced. Levels without own
// dense kernels use the next lower one that has some.
Result<DensePath> choose_dense_path(DenseMode mode, std::string_view level = {});

}  // namespace skvis
