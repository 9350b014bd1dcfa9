// SPDX-License-Identifier: Apache-2.0
#include "cache/layout.hpp"

#include <algorithm>
#include <cstring>

#include "base/half.hpp"

namespace skvis {
namespace {

size_t pages_for(size_t rows, size_t slots) {
  return (rows + slots - 1) / slots;
}

template <typename Half16, Half16 (*convert)(float)>
void store_16(const float* from, size_t count, std::byte* to) {
  for (size_t i = 0; i < count; ++i) {
    const Half16 value = convert(from[i]);
    std::memcpy(to + i * sizeof value, &value, sizeof value);
  }
}

template <typename Half16>
void load_16(const std::byte* from, size_t count, float* to) {
  for (size_t i = 0; i < count; ++i) {
    Half16 value;
    std::memcpy(&value, from + i * sizeof value, sizeof value);
    to[i] = to_float(value);
  }
}

}  // namespace

size_t exact_bytes(ExactType type) {
  return type == ExactType::f32 ? 4 : 2;
}

void store_exact(ExactType type, const float* from, size_t count, std::byte* to) {
  switch (type) {
    case ExactType::f16:
      return store_16<Half, to_half>(from, count, to);
    case ExactType::bf16:
      return store_16<BFloat16, to_bfloat16>(from, count, to);
    case ExactType::f32:
      std::memcpy(to, from, count * sizeof(float));
  }
}

void load_exact(ExactType type, const std::byte* from, size_t count, float* to) {
  switch (type) {
    case ExactType::f16:
      return load_16<Half>(from, count, to);
    case ExactType::bf16:
      return load_16<BFloat16>(from, count, to);
    case ExactType::f32:
      std::memcpy(to, from, count * sizeof(float));
  }
}

Result<CacheLayout> CacheLayout::create(const Plan& plan, Pool& pool) {
  CacheLayout layout;
  layout.plan_ = plan;
  const CacheShape& shape = plan.shape;
  layout.row_bytes_ = shape.head_dim * exact_bytes(plan.exact_type);
  for (uint32_t index = 0; index < shape.heads(); ++index) {
    const HeadPlan& head_plan = plan.heads[index];
    HeadLayout head;
    head.key = head_plan.key;
    head.value = head_plan.value;
    head.key_context = {.role = Role::key, .head_dim = shape.head_dim};
    head.value_context = {.role = Role::value, .head_dim = shape.head_dim};
    SKVIS_CHECK(head.key.supports(head.key_context));
    SKVIS_CHECK(head.value.supports(head.value_context));
    head.key_bytes = head.key.block_bytes(head.key_context);
    SKVIS_TRY(
        head.sealed,
        pool.page_class(head.key_bytes + head.value.block_bytes(head.value_context), kPageSlots));
    head.window = shape.window[shape.head(index).layer];
    head.selectable = plan.drops() && !head_plan.keep_all;
    layout.heads_.push_back(head);
  }
  SKVIS_TRY(layout.open_, pool.page_class(2 * kOpenSlots * layout.row_bytes_, kOpenSlots));
  if (plan.sinks > 0) {
    SKVIS_TRY(layout.sinks_, pool.page_class(2 * plan.sinks * layout.row_bytes_, plan.sinks));
  }
  if (plan.drops()) {
    const SelectorNeeds needs = plan.keep.selector->needs(plan.keep.settings);
    if (needs.columns == QueryRows::last) layout.observe_ = needs.observe;
  }
  if (layout.observe_ > 0) {
    SKVIS_TRY(layout.queries_,
              pool.page_class(layout.observe_ * shape.query_heads * layout.row_bytes_, 1));
  }
  PageClass last = std::max({layout.open_, layout.sinks_, layout.queries_});
  for (const HeadLayout& head : layout.heads_) last = std::max(last, head.sealed);
  for (PageClass i = 0; i <= last; ++i) layout.class_bytes_.push_back(pool.page_bytes(i));
  return layout;
}

// Rows of a head that may be sealed at once when the sequence has `tokens` tokens and the budget
// allows the head `budget` rows.
uint32_t CacheLayout::most_sealed_rows(uint32_t index, uint32_t budget, uint32_t tokens) const {
  const HeadLayout& head = heads_[index];
  if (head.window > 0) {
    // Whole pages leave the window, and only at grid points.
    return std::min(tokens, head.window + plan_.settle.step + kPageSlots);
  }
  if (!head.selectable) return tokens;
  // Rows that may not be dropped are kept even where the budget is smaller.
  return std::min(tokens, std::max(budget, plan_.sinks + std::max(plan_.recent, plan_.exact)));
}

Quota CacheLayout::worst_case(uint32_t prompt, uint32_t tokens) const {
  std::vector<uint32_t> budgets(heads(), tokens);
  if (plan_.drops()) plan_.keep.budget->upper_bound(plan_.budget_request(tokens), budgets);

  const SettleRule& settle = plan_.settle;
  size_t open_rows = tokens;
  if (!settle.positions.empty()) {
    uint32_t longest = tokens - std::min(tokens, settle.positions.back());
    uint32_t before = 0;
    for (const uint32_t position : settle.positions) {
      longest = std::max(longest, std::min(position, tokens) - std::min(before, tokens));
      before = position;
    }
    open_rows = std::min<size_t>(tokens, longest + plan_.exact);
  } else if (settle.step > 0) {
    open_rows = std::min<size_t>(tokens, settle.step + plan_.exact);
  } else if (plan_.exact < prompt) {
    // Settled once, when the prompt is complete; the answer stays exact behind the exact tail.
    open_rows = std::max<size_t>(prompt, tokens - prompt + plan_.exact);
  }

  Quota quota;
  // The first open page may begin with rows that are sealed already.
  quota.emplace_back(open_, heads() * pages_for(open_rows + kOpenSlots - 1, kOpenSlots));
  if (plan_.sinks > 0) quota.emplace_back(sinks_, heads());
  if (observe_ > 0) quota.emplace_back(queries_, shape().layers);

  // Sealed pages, and beside them the pages of one layer that settle is about to free.
  std::vector<size_t> sealed(class_bytes_.size());
  std::vector<size_t> replaced(class_bytes_.size());
  std::vector<size_t> in_layer(class_bytes_.size());
  for (uint32_t index = 0; index < heads(); ++index) {
    const HeadLayout& head = heads_[index];
    if (index % shape().kv_heads == 0) std::fill(in_layer.begin(), in_layer.end(), 0);
    const size_t pages =
        pages_for(most_sealed_rows(index, budgets[index], tokens), kPageSlots) + (head.window > 0);
    sealed[head.sealed] += pages;
    // Ratio budgets judge a row once, among the newest; others judge all rows again.
    const bool judged_again = head.selectable && plan_.keep.amount.unit != AmountUnit::ratio;
    const size_t rebuilt =
        head.selectable ? pages_for(std::max(plan_.recent, plan_.exact), kPageSlots) + 2 : 1;
    in_layer[head.sealed] += judged_again ? pages : std::min(pages, rebuilt);
    replaced[head.sealed] = std::max(replaced[head.sealed], in_layer[head.sealed]);
  }
  for (PageClass i = 0; i < sealed.size(); ++i) {
    if (sealed[i] > 0) quota.emplace_back(i, sealed[i] + replaced[i]);
  }
  return quota;
}

size_t CacheLayout::worst_case_bytes(uint32_t prompt, uint32_t tokens) const {
  size_t bytes = 0;
  for (const auto& [page_class, pages] : worst_case(prompt, tokens)) {
    bytes += pages * class_bytes_[page_class];
  }
  return bytes;
}

size_t CacheLayout::full_cache_bytes(uint32_t tokens) const {
  size_t rows = 0;
  for (const HeadLayout& head : heads_) {
    rows += head.window > 0 ? std::min(tokens, head.window) : tokens;
  }
  return rows * 2 * shape().head_dim * sizeof(Half);
}

}  // namespace skvis
