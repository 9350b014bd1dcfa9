// SPDX-License-Identifier: Apache-2.0
#include "cache/layout.hpp"

#include <algorithm>

#include "base/half.hpp"
#include "kernels/table.hpp"

namespace skvis {
namespace {

size_t pages_for(size_t rows, size_t slots) {
  return (rows + slots - 1) / slots;
}

// What this cache can store: rows of one head, each by itself, that need nothing but their page.
Result<void> check_code(const Code& code, const BlockContext& context) {
  const Codec& codec = *code.codec;
  const bool by_row = codec.heads_per_group == 1 && codec.rows_per_token_group == 1;
  const bool alone = codec.side_scope == SideScope::none && codec.key_form == KeyForm::after_rope;
  if (!by_row || !alone) {
    return fail(
        "code {}: codes of several rows or heads together, with tables of their own or of "
        "keys before RoPE are not built yet",
        code.text());
  }
  return code.supports(context);
}

}  // namespace

kernels::ElementType element_type(ExactType type) {
  switch (type) {
    case ExactType::f16:
      return kernels::ElementType::f16;
    case ExactType::bf16:
      return kernels::ElementType::bf16;
    case ExactType::f32:
      break;
  }
  return kernels::ElementType::f32;
}

size_t exact_bytes(ExactType type) {
  return kernels::element_bytes(element_type(type));
}

void store_exact(ExactType type, const float* from, size_t count, std::byte* to) {
  kernels::active_kernels().store_elements[static_cast<size_t>(element_type(type))](from, count,
                                                                                    to);
}

void load_exact(ExactType type, const std::byte* from, size_t count, float* to) {
  kernels::active_kernels().load_elements[static_cast<size_t>(element_type(type))](from, count, to);
}

Result<CacheLayout> CacheLayout::create(const Plan& plan, Pool& pool) {
  if (plan.sinks > kPageSlots) {
    return fail("plan {}: {} sinks, expected at most {}", plan.name, plan.sinks, kPageSlots);
  }
  CacheLayout layout;
  layout.plan_ = plan;
  CacheShape& shape = layout.plan_.shape;
  shape.window.resize(shape.layers, 0);
  for (auto layer = static_cast<uint32_t>(shape.owner.size()); layer < shape.layers; ++layer) {
    shape.owner.push_back(layer);
  }
  layout.row_bytes_ = shape.head_dim * exact_bytes(plan.exact_type);
  for (uint32_t index = 0; index < shape.heads(); ++index) {
    const HeadPlan& head_plan = plan.heads[index];
    HeadLayout head;
    head.key = head_plan.key;
    head.value = head_plan.value;
    head.key_context = {.role = Role::key, .head_dim = shape.head_dim};
    head.value_context = {.role = Role::value, .head_dim = shape.head_dim};
    SKVIS_CHECK(check_code(head.key, head.key_context));
    SKVIS_CHECK(check_code(head.value, head.value_context));
    head.key_bytes = head.key.block_bytes(head.key_context);
    SKVIS_TRY(
        head.sealed,
        pool.page_class(head.key_bytes + head.value.block_bytes(head.value_context), kPageSlots));
    const uint32_t layer = shape.head(index).layer;
    head.window = shape.window[layer];
    head.owned = shape.owner[layer] == layer;
    head.selectable = plan.drops() && !head_plan.keep_all && head.window == 0 && head.owned;
    const Amount& amount = plan.keep.table.empty() ? plan.keep.amount : plan.keep.table[index];
    head.judged_once = amount.unit == AmountUnit::ratio;
    layout.heads_.push_back(head);
  }
  if (plan.drops()) {
    layout.needs_ = plan.keep.needs();
    layout.state_floats_ = layout.own_state() + plan.keep.selector->state_per_row;
    if (layout.needs_.query_moments && shape.rotary.inverse_frequency.empty()) {
      return fail("plan {}: selector {} turns keys by RoPE, which this model does not use",
                  plan.name, plan.keep.selector->name);
    }
  }
  SKVIS_TRY(layout.open_, pool.page_class(layout.exact_page_bytes(kOpenSlots), kOpenSlots));
  if (plan.sinks > 0) {
    SKVIS_TRY(layout.sinks_, pool.page_class(layout.exact_page_bytes(plan.sinks), plan.sinks));
  }
  const auto side_class = [&](size_t bytes, PageClass& page_class) -> Result<void> {
    if (bytes == 0) return {};
    SKVIS_TRY(page_class, pool.page_class(bytes, 1));
    return {};
  };
  SKVIS_CHECK(side_class(
      layout.observed_sums_offset() + layout.observe() * shape.query_heads * sizeof(float),
      layout.queries_));
  SKVIS_CHECK(side_class(kPageSlots * layout.state_floats_ * sizeof(float), layout.state_));
  SKVIS_CHECK(side_class(
      layout.needs_.query_moments ? shape.group_size() * layout.moment_floats() * sizeof(float) : 0,
      layout.moments_));
  if (layout.filters_rows()) {
    if (layout.notes_every_row()) {
      return fail("plan {}: selector {} cannot be joined with what must see every row", plan.name,
                  plan.keep.selector->name);
    }
    const auto judges = [](const HeadLayout& head) { return head.selectable || !head.owned; };
    if (!std::all_of(layout.heads_.begin(), layout.heads_.end(), judges)) {
      return fail(
          "plan {}: selector {} takes tokens from whole layers and must judge every head; leave "
          "out "
          "'heads' and 'layers', and take a model without sliding windows",
          plan.name, plan.keep.selector->name);
    }
    if (shape.hidden_size == 0) {
      return fail("plan {}: selector {} needs a model with hidden states", plan.name,
                  plan.keep.selector->name);
    }
    SKVIS_CHECK(
        side_class(kOpenSlots * size_t{shape.hidden_size} * sizeof(float), layout.waiting_));
  }
  PageClass last = std::max({layout.open_, layout.sinks_, layout.queries_, layout.state_,
                             layout.moments_, layout.waiting_});
  for (const HeadLayout& head : layout.heads_) last = std::max(last, head.sealed);
  for (PageClass i = 0; i <= last; ++i) layout.class_bytes_.push_back(pool.page_bytes(i));
  return layout;
}

bool CacheLayout::rewrites_exact_rows() const {
  return state_floats_ > 0 || (plan_.drops() && plan_.keep.selector->merge != nullptr);
}

// Exact rows beside the sinks that a sequence can hold at once.
size_t CacheLayout::most_open_rows(uint32_t prompt, uint32_t tokens) const {
  const SettleRule& settle = plan_.settle;
  size_t rows = tokens;
  if (!settle.positions.empty()) {
    uint32_t longest = tokens - std::min(tokens, settle.positions.back());
    uint32_t before = 0;
    for (const uint32_t position : settle.positions) {
      longest = std::max(longest, std::min(position, tokens) - std::min(before, tokens));
      before = position;
    }
    rows = size_t{longest} + plan_.exact;
  } else if (settle.step > 0) {
    rows = size_t{settle.step} + plan_.exact;
  } else if (settle.at_prompt_end && prompt < tokens) {
    // Behind the prompt's end lie the exact tail and what follows.
    rows = std::max<size_t>(prompt, size_t{tokens} - prompt + plan_.exact);
  }
  rows = std::min<size_t>(tokens, rows);
  // The repeated part and the instruction lie behind the prompt for as long as it is scored.
  const uint32_t part = needs_.scoring_pass;
  return part == 0 ? rows : rows + std::min<size_t>(part, rows) + kMostInstruction;
}

CacheLayout::SealedPages CacheLayout::most_sealed(const HeadLayout& head, uint32_t budget,
                                                  size_t open_rows, uint32_t tokens) const {
  const SettleRule& settle = plan_.settle;
  if (!settle.at_prompt_end && settle.next_after(0) > tokens) return {};  // nothing ever settles
  const size_t most = tokens - std::min(tokens, plan_.sinks);
  if (head.window > 0) {
    // Pages leave the window as a whole, so that the first may hold rows outside.
    const size_t held = std::min<size_t>(most, size_t{head.window} + kPageSlots - 2);
    const size_t sealed_at_once = std::min<size_t>(open_rows, head.window);
    return {pages_for(held, kPageSlots), pages_for(sealed_at_once + kPageSlots - 1, kPageSlots),
            std::min<size_t>(most, head.window)};
  }
  // A last page that is not full yet is packed anew with the rows that follow.
  if (!head.selectable) return {pages_for(most, kPageSlots), 1, most};
  // Rows that may not be dropped are kept even where the budget is smaller.
  const size_t kept = std::max<size_t>(budget, plan_.protected_rows());
  const size_t rows = std::min(most, kept - std::min<size_t>(kept, plan_.sinks));
  const size_t held = pages_for(rows, kPageSlots);
  if (!head.judged_once) return {held, held, rows};
  // Only rows that were too recent to be judged can go, and the page before them is packed anew.
  const size_t unjudged = plan_.protected_tail() - plan_.exact;
  return {held, std::min(held, pages_for(unjudged, kPageSlots) + 1), rows};
}

// Sealed pages of the heads of a layer, or of all, by page class. What each head can hold is known,
// and where a budget moves rows from head to head, what all of these hold together.
class CacheLayout::PageSum {
 public:
  explicit PageSum(size_t classes) : alone_(classes), sharing_(classes), beside_(classes) {}
  void add(PageClass page_class, const SealedPages& pages) {
    alone_[page_class] += pages.held;
    beside_[page_class] += pages.beside;
  }
  // Pages whose rows may go to other heads of this sum, or theirs to it.
  void add_sharing(PageClass page_class, const SealedPages& pages) {
    sharing_[page_class] += pages.held;
    beside_[page_class] += pages.beside;
  }
  // One head that shares: so many rows are its own.
  void add_share(uint64_t rows) {
    shared_rows_ += rows;
    ++sharing_heads_;
  }
  // Wherever shared rows go: no more pages than they fill, and one of each head that is not full.
  size_t held(PageClass i) const {
    const uint64_t filled = (shared_rows_ + sharing_heads_ * (kPageSlots - 1)) / kPageSlots;
    return alone_[i] + std::min<size_t>(sharing_[i], filled);
  }
  size_t beside(PageClass i) const { return std::min(beside_[i], held(i)); }

 private:
  std::vector<size_t> alone_;
  std::vector<size_t> sharing_;
  std::vector<size_t> beside_;
  uint64_t shared_rows_ = 0;
  uint64_t sharing_heads_ = 0;
};

CacheLayout::Bounds CacheLayout::bounds(uint32_t tokens) const {
  Bounds bounds{.most = std::vector<uint32_t>(heads(), tokens),
                .shares = std::vector<uint32_t>(heads(), 0)};
  if (!plan_.drops()) return bounds;
  const Budget& budget = *plan_.keep.budget;
  const BudgetRequest request = plan_.budget_request(tokens);
  budget.upper_bound(request, bounds.most);
  bounds.scope = budget.scope;
  if (bounds.scope != Scope::head) budget.shares(request, bounds.shares);
  return bounds;
}

uint32_t CacheLayout::shared_rows(const Bounds& bounds, uint32_t head, uint32_t tokens) const {
  const uint32_t kept = std::max(bounds.shares[head], plan_.protected_rows());
  return std::min(kept, tokens) - std::min({kept, tokens, plan_.sinks});
}

// By page class: the most sealed pages that a sequence holds, and what settling adds to them. It
// works through the layers, so that pages exist twice in one of them only.
std::vector<CacheLayout::SealedPages> CacheLayout::most_sealed_pages(uint32_t tokens,
                                                                     size_t open_rows) const {
  const Bounds bounds = this->bounds(tokens);
  const size_t classes = class_bytes_.size();
  PageSum of_model(classes);
  std::vector<SealedPages> pages_of(classes);
  for (uint32_t layer = 0; layer < shape().layers; ++layer) {
    PageSum of_layer(classes);
    for (uint32_t index = shape().index({layer, 0}); index < shape().index({layer + 1, 0});
         ++index) {
      const HeadLayout& head = heads_[index];
      if (!head.owned) continue;
      const SealedPages pages = most_sealed(head, bounds.most[index], open_rows, tokens);
      const uint32_t share = shared_rows(bounds, index, tokens);
      const auto add = [&](PageSum& sum, bool sharing) {
        if (sharing) sum.add_share(share);
        const auto add_pages = [&](PageClass page_class) {
          sharing ? sum.add_sharing(page_class, pages) : sum.add(page_class, pages);
        };
        add_pages(head.sealed);
        if (state_floats_ > 0) add_pages(state_);
      };
      add(of_layer, head.selectable && bounds.scope == Scope::layer);
      add(of_model, head.selectable && bounds.scope != Scope::head);
    }
    for (PageClass i = 0; i < classes; ++i) {
      pages_of[i].held += of_layer.held(i);
      pages_of[i].beside = std::max(pages_of[i].beside, of_layer.beside(i));
    }
  }
  for (PageClass i = 0; i < classes; ++i) {
    pages_of[i].held = std::min(pages_of[i].held, of_model.held(i));
    pages_of[i].beside = std::min(pages_of[i].held, pages_of[i].beside);
  }
  return pages_of;
}

size_t CacheLayout::owned_heads() const {
  return static_cast<size_t>(
      std::count_if(heads_.begin(), heads_.end(), [](const HeadLayout& h) { return h.owned; }));
}

bool CacheLayout::filters_rows() const {
  if (!plan_.drops() || plan_.keep.selector->propagate == nullptr) return false;
  constexpr uint32_t kManyRows = 1u << 30;
  for (uint32_t layer = 0; layer + 1 < shape().layers; ++layer) {
    const KeepRule& keep = plan_.keep;
    if (keep.selector->propagate(keep.settings, layer, shape().layers, kManyRows) < kManyRows) {
      return true;
    }
  }
  return false;
}

Quota CacheLayout::worst_case(uint32_t prompt, uint32_t tokens) const {
  const size_t open_rows = most_open_rows(prompt, tokens);
  const auto sealed = most_sealed_pages(tokens, open_rows);
  Quota quota;
  for (PageClass i = 0; i < sealed.size(); ++i) {
    if (sealed[i].held > 0) quota.emplace_back(i, sealed[i].held + sealed[i].beside);
  }
  // The first open page may begin with rows that are sealed already.
  const size_t owned = owned_heads();
  quota.emplace_back(open_, owned * pages_for(open_rows + kOpenSlots - 1, kOpenSlots));
  if (plan_.sinks > 0) quota.emplace_back(sinks_, owned);
  if (observe() > 0) quota.emplace_back(queries_, owned / shape().kv_heads);
  if (needs_.query_moments) quota.emplace_back(moments_, owned);
  if (filters_rows()) quota.emplace_back(waiting_, pages_for(open_rows, kOpenSlots));
  return quota;
}

size_t CacheLayout::most_sealed_row_bytes(uint32_t tokens, size_t open_rows) const {
  const Bounds bounds = this->bounds(tokens);
  size_t bytes = 0;
  for (uint32_t index = 0; index < heads(); ++index) {
    const HeadLayout& head = heads_[index];
    if (!head.owned) continue;
    const SealedPages pages = most_sealed(head, bounds.most[index], open_rows, tokens);
    const bool sharing = head.selectable && bounds.scope != Scope::head && pages.held > 0;
    bytes += (sharing ? shared_rows(bounds, index, tokens) : pages.rows) *
             (class_bytes_[head.sealed] / kPageSlots);
  }
  return bytes;
}

ReservationParts CacheLayout::worst_case_parts(uint32_t prompt, uint32_t tokens) const {
  const size_t open_rows = most_open_rows(prompt, tokens);
  const auto sealed = most_sealed_pages(tokens, open_rows);
  size_t held = 0;
  ReservationParts parts;
  for (PageClass i = 0; i < sealed.size(); ++i) {
    const bool side = state_floats_ > 0 && i == state_;
    (side ? parts.side : held) += sealed[i].held * class_bytes_[i];
    parts.settling += sealed[i].beside * class_bytes_[i];
  }
  const size_t rows = std::min(held, most_sealed_row_bytes(tokens, open_rows));
  parts.settled = std::min(rows, most_sealed_row_bytes(prompt, open_rows));
  parts.answer = rows - parts.settled;
  parts.exact = owned_heads() * open_rows * exact_page_bytes(1);
  if (plan_.sinks > 0) parts.sinks = owned_heads() * class_bytes_[sinks_];
  if (observe() > 0) parts.side += owned_heads() / shape().kv_heads * class_bytes_[queries_];
  if (needs_.query_moments) parts.side += owned_heads() * class_bytes_[moments_];
  if (filters_rows()) parts.side += pages_for(open_rows, kOpenSlots) * class_bytes_[waiting_];
  parts.remainders = worst_case_bytes(prompt, tokens) - parts.total();
  return parts;
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
    if (head.owned) rows += head.window > 0 ? std::min(tokens, head.window) : tokens;
  }
  return rows * 2 * shape().head_dim * sizeof(Half);
}

}  // namespace skvis
