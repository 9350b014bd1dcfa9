// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "codecs/entries.hpp"

namespace skvis {

std::span<const Codec* const> codecs() {
  static constexpr std::array<const Codec*, 5> kCodecs = {
      &kF32Codec, &kF16Codec, &kBf16Codec, &kInt8Codec, &kInt4Codec,
  };
  return kCodecs;
}

std::span<const Transform* const> transforms() {
  static constexpr std::array<const Transform*, 1> kTransforms = {
      &kHadamardTransform,
  };
  return kTransforms;
}

}  // namespace skvis
