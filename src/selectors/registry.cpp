// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>

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

double norm_of(const RowsView& rows, size_t j) {
  double squares = 0;
  for (size_t c = 0; c < rows.head_dim; ++c) squares += double{rows.row(j)[c]} * rows.row(j)[c];
  return std::sqrt(squares);
}

}  // namespace skvis
