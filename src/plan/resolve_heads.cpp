// SPDX-License-Identifier: Apache-2.0
#include "plan/resolve_heads.hpp"

#include <algorithm>
#include <set>

#include "plan/ranges.hpp"

namespace skvis {
namespace {

const Codec* find_codec(std::string_view name) {
  for (const Codec* codec : codecs()) {
    if (codec->name == name) return codec;
  }
  return nullptr;
}

// Calls body(index) for every head that the rectangle names.
template <typename Body>
void for_each_head(const Where& where, const CacheShape& shape, Problems& problems, Body&& body) {
  const std::string name = where.name.empty() ? "plan" : where.name;
  const auto layers = parse_ranges(where.layers, shape.layers, name, "layers", problems);
  const auto heads = parse_ranges(where.heads, shape.kv_heads, name, "heads", problems);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t head = 0; layers[layer] != 0 && head < shape.kv_heads; ++head) {
      if (heads[head] != 0) body(shape.index({layer, head}));
    }
  }
}

bool owns_rows(const CacheShape& shape, uint32_t layer) {
  return shape.owner.empty() || shape.owner[layer] == layer;
}

bool slides(const CacheShape& shape, uint32_t layer) {
  return !shape.window.empty() && shape.window[layer] != 0;
}

Code precise_code(Code code) {
  const bool rounded = code.codec->name == "f16" || code.codec->name == "bf16";
  if (rounded) code.codec = find_codec("f32");
  return code;
}

// Layers that read another layer's rows are treated as that layer is.
void follow_owners(Plan& plan) {
  for (uint32_t layer = 0; layer < plan.shape.layers; ++layer) {
    if (owns_rows(plan.shape, layer)) continue;
    for (uint32_t head = 0; head < plan.shape.kv_heads; ++head) {
      plan.heads[plan.shape.index({layer, head})] =
          plan.heads[plan.shape.index({plan.shape.owner[layer], head})];
    }
  }
}

void check_code(const Code& code, Role role, const Plan& plan, std::set<std::string>& seen,
                Problems& problems) {
  const std::string_view name = role == Role::key ? "key" : "value";
  if (!seen.insert(fmt::format("{} {}", name, code.text())).second) return;
  const BlockContext context{.role = role, .head_dim = plan.shape.head_dim};
  if (const auto supported = code.supports(context); !supported) {
    problems.add("store: {} code '{}' does not fit this model: {}", name, code.text(),
                 supported.error().message);
  }
}

uint32_t bytes_per_row(const Code& code, Role role, uint32_t head_dim) {
  const BlockContext context{.role = role, .head_dim = head_dim};
  return static_cast<uint32_t>((code.block_bytes(context) + kPageSlots - 1) / kPageSlots);
}

// Calls body(index, number) for every head of the matrix; false where it does not fit the model.
template <typename Body>
bool for_each_entry(const KeepSpec& keep, const CacheShape& shape, Problems& problems,
                    Body&& body) {
  if (keep.matrix.size() != shape.layers) {
    problems.add("keep.table has {} rows, expected one per layer, {}", keep.matrix.size(),
                 shape.layers);
    return false;
  }
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    if (keep.matrix[layer].size() != shape.kv_heads) {
      problems.add("keep.table[{}] has {} numbers, expected one per KV head, {}", layer,
                   keep.matrix[layer].size(), shape.kv_heads);
      return false;
    }
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      body(shape.index({layer, head}), keep.matrix[layer][head]);
    }
  }
  return true;
}

void resolve_scores(const KeepSpec& keep, Plan& plan, Problems& problems) {
  plan.keep.head_scores.assign(plan.shape.heads(), 0.0);
  if (keep.matrix.empty()) return;  // a problem that is reported already
  for_each_entry(keep, plan.shape, problems,
                 [&](uint32_t i, double score) { plan.keep.head_scores[i] = score; });
}

// Explicit amounts: the matrix, or the rules in their order over the amount that `keep` itself has.
void resolve_table(const KeepSpec& keep, Plan& plan, Problems& problems) {
  const CacheShape& shape = plan.shape;
  std::vector<uint8_t> given(shape.heads(), keep.amount.has_value() ? 1 : 0);
  plan.keep.table.assign(shape.heads(), keep.amount.value_or(Amount{}));
  if (!keep.matrix.empty()) {
    const bool fits = for_each_entry(keep, shape, problems, [&](uint32_t i, double ratio) {
      plan.keep.table[i] = {AmountUnit::ratio, ratio};
      given[i] = 1;
    });
    if (!fits) return;
  }
  for (const TableSpec& rule : keep.table) {
    for_each_head(rule.where, shape, problems, [&](uint32_t i) {
      plan.keep.table[i] = rule.amount;
      given[i] = 1;
    });
  }
  uint32_t missing = 0;
  uint32_t first = 0;
  for (uint32_t i = shape.heads(); i-- > 0;) {
    if (given[i] != 0 || plan.heads[i].keep_all) continue;
    first = i;
    ++missing;
  }
  if (missing > 0) {
    problems.add(
        "keep.table leaves {} heads without an amount, the first is head {} of layer {};"
        " add rules, or a ratio or tokens beside the table for the rest",
        missing, shape.head(first).head, shape.head(first).layer);
  }
}

// Bytes that protected rows of one head take.
uint64_t protected_bytes(const Plan& plan, uint32_t head) {
  const uint64_t exact = uint64_t{plan.sinks} + plan.exact;
  const uint64_t coded = plan.protected_tail() - plan.exact;
  return exact * plan.exact_row_bytes() + coded * plan.row_bytes[head];
}

void check_tokens(const Amount& amount, std::string_view where, const Plan& plan,
                  Problems& problems) {
  const uint64_t least = plan.protected_rows();
  if (amount.unit != AmountUnit::tokens || amount.value >= static_cast<double>(least)) return;
  problems.add(
      "{}: {} tokens per head are fewer than the {} that are never dropped (sinks {}, then"
      " the larger of exact {} and recent {}); give more{}, or protect fewer",
      where, amount.value, least, plan.sinks, plan.exact, plan.recent,
      amount.value == 1 ? " (1.0 would be a ratio)" : "");
}

void check_amounts(const Plan& plan, Problems& problems) {
  check_tokens(plan.keep.amount, "keep", plan, problems);
  for (uint32_t i = 0; i < plan.keep.table.size(); ++i) {
    if (plan.heads[i].keep_all) continue;
    const HeadId id = plan.shape.head(i);
    check_tokens(plan.keep.table[i], fmt::format("keep.table, layer {} head {}", id.layer, id.head),
                 plan, problems);
  }
  if (plan.keep.amount.unit != AmountUnit::bytes) return;
  uint64_t least = 0;
  for (uint32_t i = 0; i < plan.shape.heads(); ++i) {
    const uint32_t layer = plan.shape.head(i).layer;
    if (!plan.heads[i].keep_all && owns_rows(plan.shape, layer)) least += protected_bytes(plan, i);
  }
  if (plan.keep.amount.value < static_cast<double>(least)) {
    problems.add(
        "keep: {} bytes per sequence are fewer than the {} bytes of rows that are never"
        " dropped (sinks {}, exact {}, recent {}); give more, or protect fewer",
        static_cast<uint64_t>(plan.keep.amount.value), least, plan.sinks, plan.exact, plan.recent);
  }
}

}  // namespace

void resolve_store(const PlanSpec& spec, bool precise, Plan& plan, Problems& problems) {
  const Code f16{.codec = find_codec("f16")};
  plan.heads.assign(plan.shape.heads(), HeadPlan{.key = f16, .value = f16});
  for (const StoreSpec& rule : spec.store) {
    for_each_head(rule.where, plan.shape, problems, [&](uint32_t i) {
      if (rule.key) plan.heads[i].key = *rule.key;
      if (rule.value) plan.heads[i].value = *rule.value;
    });
  }
  std::set<std::string> seen;
  for (HeadPlan& head : plan.heads) {
    if (precise) head.key = precise_code(head.key);
    if (precise) head.value = precise_code(head.value);
    check_code(head.key, Role::key, plan, seen, problems);
    check_code(head.value, Role::value, plan, seen, problems);
  }
  follow_owners(plan);
  if (!problems.empty()) return;  // a code that does not fit has no bytes
  for (const HeadPlan& head : plan.heads) {
    plan.row_bytes.push_back(bytes_per_row(head.key, Role::key, plan.shape.head_dim) +
                             bytes_per_row(head.value, Role::value, plan.shape.head_dim));
  }
}

void resolve_keep(const PlanSpec& spec, Plan& plan, Problems& problems) {
  plan.selectable.assign(plan.shape.heads(), 0);
  if (!spec.keep || spec.keep->selector == nullptr) return;
  const KeepSpec& keep = *spec.keep;
  plan.keep.selector = keep.selector;
  plan.keep.budget = keep.budget;
  plan.keep.amount = keep.amount.value_or(Amount{});
  plan.keep.settings = keep.settings;
  plan.keep.refine = keep.refine;
  const size_t before = problems.count();
  for_each_head(keep.where, plan.shape, problems, [&](uint32_t i) {
    plan.heads[i].keep_all = slides(plan.shape, plan.shape.head(i).layer);
  });
  follow_owners(plan);
  for (uint32_t i = 0; i < plan.shape.heads(); ++i) {
    plan.selectable[i] = plan.heads[i].keep_all ? 0 : 1;
  }
  const bool none = std::all_of(plan.heads.begin(), plan.heads.end(),
                                [](const HeadPlan& head) { return head.keep_all; });
  if (none && problems.count() == before) {
    problems.add(
        "keep: '{}' would drop nothing, since all its layers slide; remove keep, or name"
        " other layers",
        keep.selector->name);
  }
  if (keep.budget->table_of_scores) {
    resolve_scores(keep, plan, problems);
  } else if (keep.budget->needs_table) {
    resolve_table(keep, plan, problems);
  }
}

void check_plan(const Plan& plan, Problems& problems) {
  const SettleRule& settle = plan.settle;
  const bool grid = settle.step != 0 || !settle.positions.empty();
  if (!settle.positions.empty() && !settle.at_prompt_end) {
    const uint64_t untouched = plan.protected_rows();
    if (settle.positions.back() <= untouched) {
      problems.add(
          "settle: at the last position, {}, all rows are still sinks, exact or recent"
          " ({} of them); nothing would ever be settled",
          settle.positions.back(), untouched);
    }
  }
  if (!plan.drops()) return;
  if (plan.keep.horizon() == Horizon::prompt && grid) {
    std::string_view name = plan.keep.selector->name;
    for (const Refinement* refinement : plan.keep.refine) {
      if (refinement->horizon == Horizon::prompt) name = refinement->name;
    }
    problems.add(
        "keep: '{}' judges rows only when the whole prompt has been read and cannot settle"
        " on a grid; use settle=prompt",
        name);
  }
  if (plan.keep.budget->whole_prompt && grid) {
    problems.add(
        "keep: budget '{}' compares the rows of a whole prompt and cannot settle on a grid; use"
        " settle=prompt",
        plan.keep.budget->name);
  }
  check_amounts(plan, problems);
}

}  // namespace skvis
