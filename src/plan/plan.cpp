// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.hpp"

#include <algorithm>

#include "plan/ranges.hpp"
#include "plan/read.hpp"

namespace skvis {
namespace {

Json settle_to_json(const SettleRule& settle) {
  if (settle.step != 0) return settle.step;
  if (!settle.positions.empty()) return settle.positions;
  return "prompt";
}

void put_amount(const Amount& amount, Json& object) {
  switch (amount.unit) {
    case AmountUnit::ratio:
      object["ratio"] = amount.value;
      break;
    case AmountUnit::tokens:
      object["tokens"] = static_cast<int64_t>(amount.value);
      break;
    case AmountUnit::bytes:
      object["bytes"] = static_cast<int64_t>(amount.value);
      break;
  }
}

// The layers and heads that a selector may touch, as the rectangle that a plan would name.
void put_selectable(const Plan& plan, Json& keep) {
  std::vector<uint8_t> layers(plan.shape.layers, 0);
  std::vector<uint8_t> heads(plan.shape.kv_heads, 0);
  for (uint32_t i = 0; i < plan.shape.heads(); ++i) {
    if (plan.heads[i].keep_all) continue;
    layers[plan.shape.head(i).layer] = 1;
    heads[plan.shape.head(i).head] = 1;
  }
  keep["layers"] = ranges_text(layers);
  keep["heads"] = ranges_text(heads);
}

Json table_to_json(const Plan& plan) {
  Json table = Json::array();
  const auto kind = [&](uint32_t i) -> std::string {
    if (plan.heads[i].keep_all) return "";
    Json amount;
    put_amount(plan.keep.table[i], amount);
    return amount.dump();
  };
  for (const HeadRange& range : fold_heads(plan.shape, kind)) {
    Json rule = {{"layers", range.layers}, {"heads", range.heads}};
    put_amount(plan.keep.table[range.first], rule);
    table.push_back(std::move(rule));
  }
  return table;
}

// [layers][kv_heads]
Json scores_to_json(const Plan& plan) {
  Json table = Json::array();
  for (uint32_t layer = 0; layer < plan.shape.layers; ++layer) {
    Json row = Json::array();
    for (uint32_t head = 0; head < plan.shape.kv_heads; ++head) {
      row.push_back(plan.keep.head_scores[plan.shape.index({layer, head})]);
    }
    table.push_back(std::move(row));
  }
  return table;
}

Json keep_to_json(const Plan& plan) {
  const KeepRule& rule = plan.keep;
  Json keep = {{"selector", rule.selector->name}, {"budget", rule.budget->name}};
  if (!rule.table.empty()) {
    keep["table"] = table_to_json(plan);
  } else if (rule.budget->takes_amount) {
    put_amount(rule.amount, keep);
  }
  if (!rule.head_scores.empty()) keep["table"] = scores_to_json(plan);
  put_selectable(plan, keep);
  for (const Refinement* refinement : rule.refine) keep["refine"].push_back(refinement->name);
  if (!rule.data_file.empty()) {
    keep["data"] = rule.data_file;
  }
  for (const Parameter& parameter : rule.parameters()) {
    const double value = rule.settings.find(parameter.name)->second;
    Json& member = keep[std::string(parameter.name)];
    if (!parameter.words.empty()) {
      member = parameter.words[static_cast<size_t>(value)];
    } else if (parameter.whole) {
      member = static_cast<int64_t>(value);
    } else {
      member = value;
    }
  }
  return keep;
}

}  // namespace

uint32_t SettleRule::next_after(uint32_t position) const {
  if (step != 0) {
    const uint64_t next = (uint64_t{position} / step + 1) * step;
    return next < UINT32_MAX ? static_cast<uint32_t>(next) : UINT32_MAX;
  }
  const auto it = std::upper_bound(positions.begin(), positions.end(), position);
  return it != positions.end() ? *it : UINT32_MAX;
}

bool SettleRule::is_grid_point(uint32_t position) const {
  if (step != 0) return position != 0 && position % step == 0;
  return std::binary_search(positions.begin(), positions.end(), position);
}

std::vector<Parameter> KeepRule::parameters() const {
  std::vector<Parameter> all(selector->parameters.begin(), selector->parameters.end());
  for (const Refinement* refinement : refine) {
    all.insert(all.end(), refinement->parameters.begin(), refinement->parameters.end());
  }
  all.insert(all.end(), budget->parameters.begin(), budget->parameters.end());
  return all;
}

SelectorNeeds KeepRule::needs() const {
  SelectorNeeds all = selector->needs(settings);
  for (const Refinement* refinement : refine) {
    if (refinement->needs != nullptr) all = all | refinement->needs(settings);
  }
  return all;
}

Horizon KeepRule::horizon() const {
  Horizon farthest = selector->horizon;
  for (const Refinement* refinement : refine) farthest = std::max(farthest, refinement->horizon);
  return farthest;
}

BudgetRequest Plan::budget_request(uint32_t tokens) const {
  return {.shape = &shape,
          .amount = keep.amount,
          .settings = &keep.settings,
          .table = keep.table,
          .head_scores = keep.head_scores,
          .row_bytes = row_bytes,
          .selectable = selectable,
          .tokens = tokens,
          .protected_rows = protected_rows(),
          .exact_rows = sinks + exact,
          .exact_row_bytes = exact_row_bytes(),
          .scores = {}};
}

uint32_t Plan::exact_row_bytes() const {
  const uint32_t element = exact_type == ExactType::f32 ? 4 : 2;
  return 2 * shape.head_dim * element;
}

Json plan_to_json(const Plan& plan) {
  Json json = {{"name", plan.name},
               {"sinks", plan.sinks},
               {"exact", plan.exact},
               {"recent", plan.recent},
               {"exact_type", exact_type_name(plan.exact_type)},
               {"settle", settle_to_json(plan.settle)},
               {"settle_end", plan.settle.at_prompt_end}};
  if (plan.drops()) json["keep"] = keep_to_json(plan);
  Json store = Json::array();
  const auto kind = [&](uint32_t i) {
    return plan.heads[i].key.text() + "\n" + plan.heads[i].value.text();
  };
  for (const HeadRange& range : fold_heads(plan.shape, kind)) {
    const HeadPlan& head = plan.heads[range.first];
    store.push_back({{"layers", range.layers},
                     {"heads", range.heads},
                     {"key", head.key.text()},
                     {"value", head.value.text()}});
  }
  json["store"] = std::move(store);
  return json;
}

}  // namespace skvis
