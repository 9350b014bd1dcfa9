// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "selectors/entries.hpp"

namespace skvis {

std::span<const Selector* const> selectors() {
  static constexpr std::array<const Selector*, 7> kAll = {&kStreaming, &kSnapkv, &kKnorm, &kKeydiff,
                                                          &kLagkv,     &kTova,   &kChunk};
  return kAll;
}

const Selector* find_selector(std::string_view name) {
  for (const Selector* selector : selectors()) {
    if (selector->name == name) return selector;
  }
  return nullptr;
}

}  // namespace skvis
