// SPDX-License-Identifier: Apache-2.0
// A KV plan says what happens to the keys and values of each (layer, KV head): how many rows, which
// rows, stored how. The plan language (JSON, or one line on the command line) is resolved against a
// model's shape into this struct, once; only here do names meet. All problems are reported at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "budgets/budget.hpp"
#include "codecs/codec.hpp"
#include "kv/shape.hpp"
#include "selectors/selector.hpp"

namespace skvis {

// How exact rows are kept in open pages and sinks.
enum class ExactType : uint8_t { f16, bf16, f32 };

// When a sequence is settled: counted, selected, encoded, freed.
struct SettleRule {
  uint32_t step = 256;  // every `step` tokens at absolute positions; 0: no such grid
  std::vector<uint32_t> positions = {};  // an explicit grid instead, ascending
  bool at_prompt_end = false;            // also (or only) when the prompt has been read
  // The first grid position above `position`, or UINT32_MAX.
  uint32_t next_after(uint32_t position) const;
  bool is_grid_point(uint32_t position) const;
};

struct KeepRule {
  const Selector* selector = nullptr;  // null: every row is kept
  const Budget* budget = nullptr;      // set when selector is
  Amount amount;
  std::vector<Amount> table;        // [heads] when the plan gives explicit amounts, else empty
  std::vector<double> head_scores;  // [heads] where the budget reads scores, else empty
  Settings settings;                // complete: every parameter with its value
  std::vector<const Refinement*> refine;     // applied to the scores in this order
  std::string data_file;                     // where the plan names one
  std::shared_ptr<const NamedTensors> data;  // what it holds
  uint64_t data_hash = 0;
  std::vector<Parameter> parameters() const;  // of the selector, refinements and the budget
  SelectorNeeds needs() const;                // of the selector and refinements
  Horizon horizon() const;                    // the farthest of the selector and refinements
};

// One (layer, KV head).
struct HeadPlan {
  Code key;
  Code value;
  bool keep_all = true;  // sliding layers, and heads that the selector leaves alone
};

struct Plan {
  std::string name;
  CacheShape shape;
  uint32_t sinks = 0;   // first tokens: never dropped, exact
  uint32_t exact = 0;   // newest tokens at a grid point: stay exact
  uint32_t recent = 0;  // newest tokens at a grid point: may not be dropped
  ExactType exact_type = ExactType::f16;
  SettleRule settle;
  KeepRule keep;
  std::vector<HeadPlan> heads;      // [layers * kv_heads]
  std::vector<uint8_t> selectable;  // [heads] 1 where !keep_all, as budgets read it

  // Newest rows that are never dropped at a grid point: the exact tail and `recent` overlap.
  uint32_t protected_tail() const { return exact > recent ? exact : recent; }
  // Rows of every head that are never dropped: the sinks and these.
  uint32_t protected_rows() const { return sinks + protected_tail(); }
  bool drops() const { return keep.selector != nullptr; }
  const HeadPlan& head(HeadId id) const { return heads[shape.index(id)]; }
  BudgetRequest budget_request(uint32_t tokens) const;  // views into this plan; do not outlive it
  // [heads] bytes of one encoded row of each head, keys and values together.
  std::vector<uint32_t> row_bytes;
  // Bytes of one exact row of one head, keys and values.
  uint32_t exact_row_bytes() const;
  // Hash of everything that changes stored bytes: model, plan, calibration.
  uint64_t identity = 0;
};

struct PlanOptions {
  bool precise = false;               // exact rows in F32, and codec f16/bf16 replaced by f32
  std::string model_identity;         // goes into Plan::identity
  std::filesystem::path plan_folder;  // presets; empty: the built-in ones only
};

// `text` is a preset's name ("int8"), a JSON file's path, JSON itself, or one line such as
// "key=int4 value=int4 keep=snapkv:0.5 sinks=4". Resolves it for `shape`.
Result<Plan> resolve_plan(std::string_view text, const CacheShape& shape,
                          const PlanOptions& options = {});

// The resolved plan as JSON: what every layer and head does, equal heads folded into ranges.
Json plan_to_json(const Plan& plan);

}  // namespace skvis
