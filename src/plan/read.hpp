// SPDX-License-Identifier: Apache-2.0
// A plan's JSON, read into a struct and checked as far as that goes without a model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "plan/plan.hpp"
#include "plan/problems.hpp"

namespace skvis {

inline constexpr size_t kMostRules = 4096;
inline constexpr uint32_t kSmallestStep = 16;
inline constexpr uint32_t kLargestStep = 65536;

// A rectangle of layers and heads, still as text.
struct Where {
  std::string layers = "*";
  std::string heads = "*";
  std::string name;  // of the rule, for messages: "store[2]"
};

struct StoreSpec {
  Where where;
  std::optional<Code> key;
  std::optional<Code> value;
};

struct TableSpec {
  Where where;
  Amount amount;
};

struct KeepSpec {
  const Selector* selector = nullptr;  // null: `all`, or a name that is a problem already
  const Budget* budget = nullptr;
  std::optional<Amount> amount;
  Settings settings;
  Where where;
  std::vector<TableSpec> table;
  std::vector<std::vector<double>> matrix;  // [layers][kv_heads] ratios or scores
  std::vector<const Refinement*> refine;
  std::string data;  // path of a file, as the plan says it
};

struct PlanSpec {
  std::string name;
  std::optional<uint32_t> sinks;
  std::optional<uint32_t> exact;
  std::optional<uint32_t> recent;
  ExactType exact_type = ExactType::f16;
  SettleRule settle;
  std::optional<KeepSpec> keep;
  std::vector<StoreSpec> store;
};

// All keys and values of `plan`; what is wrong is added to `problems` and left at its default.
PlanSpec read_plan(const Json& plan, Problems& problems);

// "snapkv:0.5", "streaming:256", "snapkv:64KiB", "snapkv" as the object that `keep` holds: a number
// with a point is a ratio, a whole number counts tokens, a unit makes bytes.
Json keep_from_text(std::string_view text, Problems& problems);

// Keys of a plan that may stand in its one-line form, and those of `keep`, without parameters of
// selectors.
std::vector<std::string_view> plan_keys();
std::vector<std::string_view> keep_keys();

std::string_view exact_type_name(ExactType type);

}  // namespace skvis
