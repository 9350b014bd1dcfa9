// SPDX-License-Identifier: Apache-2.0
// hadamard: multiplies a row by the orthonormal Hadamard matrix, which spreads outlier channels
// over all channels so that one scale fits them (SAW-INT4, 2026; QuaRot, 2024). Its own inverse.
// Head sizes that are no power of two are transformed in blocks of the largest one that divides
// them.
#include "codecs/entries.hpp"
#include "kernels/table.hpp"

namespace skvis {
namespace {

size_t order(uint32_t head_dim) {
  return head_dim & ~(head_dim - 1);
}

Result<void> supports(uint32_t head_dim) {
  if (order(head_dim) >= 8) return {};
  return fail("head size {} has no power of two of at least 8 as a factor", head_dim);
}

void transform(uint32_t head_dim, float* rows, size_t count) {
  kernels::active_kernels().hadamard(rows, count * head_dim, order(head_dim));
}

}  // namespace

constinit const Transform kHadamardTransform = {
    .name = "hadamard", .supports = supports, .forward = transform, .inverse = transform};

}  // namespace skvis
