// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "budgets/entries.hpp"

namespace skvis {

std::span<const Budget* const> budgets() {
  static constexpr std::array kAll = {&kUniform,    &kTable,  &kPyramid, &kAda,    &kCrossLayer,
                                      &kCalibrated, &kPrefix, &kEntropy, &kClasses};
  return kAll;
}

const Budget* find_budget(std::string_view name) {
  for (const Budget* budget : budgets()) {
    if (budget->name == name) return budget;
  }
  return nullptr;
}

uint32_t rows_without_dropping(const CacheShape& shape, uint32_t layer, uint32_t tokens) {
  if (!shape.owner.empty() && shape.owner[layer] != layer) return 0;
  const uint32_t window = shape.window.empty() ? 0 : shape.window[layer];
  return window != 0 ? std::min(window, tokens) : tokens;
}

bool drops_rows(const BudgetRequest& request, uint32_t head) {
  const uint32_t layer = request.shape->head(head).layer;
  return request.selectable[head] != 0 && rows_without_dropping(*request.shape, layer, 1) != 0;
}

void repeat_owners(const CacheShape& shape, std::span<uint32_t> counts) {
  for (uint32_t layer = 0; layer < shape.owner.size(); ++layer) {
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      counts[shape.index({layer, head})] = counts[shape.index({shape.owner[layer], head})];
    }
  }
}

uint32_t rows_of(const Amount& amount, uint32_t tokens) {
  const double rows = amount.unit == AmountUnit::ratio ? amount.value * tokens : amount.value;
  return rows >= tokens ? tokens : static_cast<uint32_t>(std::max(0.0, rows));  // rounds down
}

}  // namespace skvis
