// SPDX-License-Identifier: Apache-2.0
#include "plan/read.hpp"

#include <algorithm>
#include <array>

#include "kv/shape.hpp"
#include "plan/fields.hpp"
#include "plan/read_keep.hpp"

namespace skvis {
namespace {

constexpr std::array<std::string_view, 3> kExactTypes = {"f16", "bf16", "f32"};
constexpr int64_t kMostSinks = kPageSlots;  // they share one page per head
constexpr int64_t kMostTail = int64_t{1} << 20;
constexpr int64_t kLastPosition = int64_t{1} << 30;
constexpr size_t kMostPositions = 4096;

std::optional<uint32_t> count_of(Fields& fields, std::string_view key, int64_t max) {
  const auto value = fields.whole(key, 0, max);
  if (!value) return std::nullopt;
  return static_cast<uint32_t>(*value);
}

std::vector<uint32_t> read_positions(const Json& list, Problems& problems) {
  std::vector<uint32_t> positions;
  if (list.empty() || list.size() > kMostPositions) {
    problems.add("settle: a list of {} positions, expected 1 to {}", list.size(), kMostPositions);
    return positions;
  }
  for (const Json& item : list) {
    const bool whole = item.is_number_integer() || item.is_number_unsigned();
    const int64_t least = positions.empty() ? kSmallestStep : int64_t{positions.back()} + 1;
    const int64_t value = whole ? item.get<int64_t>() : -1;
    if (value < least || value > kLastPosition) {
      problems.add("settle: position {} is {}, expected an ascending whole number from {} to {}",
                   positions.size(), in_quotes(dump_json(item)), least, kLastPosition);
      return positions;
    }
    positions.push_back(static_cast<uint32_t>(value));
  }
  return positions;
}

SettleRule read_settle(Fields& fields, Problems& problems) {
  SettleRule rule;
  const auto at_end = fields.flag("settle_end");
  rule.at_prompt_end = at_end.value_or(false);
  const Json* settle = fields.any("settle");
  if (settle == nullptr) return rule;
  if (settle->is_array()) {
    rule.step = 0;
    rule.positions = read_positions(*settle, problems);
  } else if (settle->is_string()) {
    if (settle->get_ref<const std::string&>() != "prompt") {
      problems.add("settle: {} is not known; expected \"prompt\", a step or a list of positions",
                   in_quotes(settle->get_ref<const std::string&>()));
    } else if (at_end == false) {
      problems.add("settle_end: false contradicts settle \"prompt\"; remove one of them");
    }
    rule.step = 0;
    rule.at_prompt_end = true;
  } else if (const auto step = fields.whole("settle", kSmallestStep, kLargestStep)) {
    rule.step = static_cast<uint32_t>(*step);
  }
  return rule;
}

std::optional<Code> read_code(Fields& fields, std::string_view key, const std::string& where,
                              Problems& problems) {
  const auto text = fields.text(key);
  if (!text) return std::nullopt;
  const Result<Code> code = parse_code(*text);
  if (code) return *code;
  problems.add("{}.{}: {}", where, key, code.error().message);
  return std::nullopt;
}

void read_store(const Json& store, PlanSpec& spec, Problems& problems) {
  if (!store.is_array() || store.size() > kMostRules) {
    problems.add("store must be an array of at most {} rules, found {}", kMostRules,
                 store.is_array() ? fmt::format("{}", store.size()) : json_type(store));
    return;
  }
  for (size_t i = 0; i < store.size(); ++i) {
    StoreSpec rule;
    rule.where.name = fmt::format("store[{}]", i);
    Fields fields(store[i], rule.where.name, problems);
    if (!fields.is_object()) continue;
    read_where(fields, rule.where);
    rule.key = read_code(fields, "key", rule.where.name, problems);
    rule.value = read_code(fields, "value", rule.where.name, problems);
    if (!fields.has("key") && !fields.has("value")) {
      problems.add("{} has neither key nor value; expected a code for at least one",
                   rule.where.name);
    }
    fields.refuse_unknown();
    spec.store.push_back(std::move(rule));
  }
}

}  // namespace

PlanSpec read_plan(const Json& plan, Problems& problems) {
  PlanSpec spec;
  Fields fields(plan, "plan", problems);
  if (!fields.is_object()) return spec;
  spec.name = fields.text("name").value_or("");
  for (const std::string_view key : {"description", "source", "figure"}) fields.text(key);
  spec.sinks = count_of(fields, "sinks", kMostSinks);
  spec.exact = count_of(fields, "exact", kMostTail);
  spec.recent = count_of(fields, "recent", kMostTail);
  spec.settle = read_settle(fields, problems);
  if (const auto type = fields.word("exact_type", kExactTypes)) {
    spec.exact_type = static_cast<ExactType>(*type);
  }
  if (const Json* keep = fields.any("keep")) spec.keep = read_keep(*keep, problems);
  if (const Json* store = fields.any("store")) read_store(*store, spec, problems);
  fields.refuse_unknown("keep", keep_keys_with_parameters());
  return spec;
}

std::vector<std::string_view> plan_keys() {
  return {"sinks", "exact", "recent", "settle", "settle_end", "exact_type", "keep", "key", "value"};
}

std::string_view exact_type_name(ExactType type) {
  return kExactTypes[static_cast<size_t>(type)];
}

}  // namespace skvis
