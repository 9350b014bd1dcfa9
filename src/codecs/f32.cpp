// SPDX-License-Identifier: Apache-2.0
// f32: rows as they are. For --precise and tests.
#include "codecs/entries.hpp"
#include "codecs/exact.hpp"

namespace skvis {
namespace {

float same(float value) {
  return value;
}

}  // namespace

constinit const Codec kF32Codec =
    ExactPhases<float, kernels::ElementType::f32, same, same>::codec("f32");

}  // namespace skvis
