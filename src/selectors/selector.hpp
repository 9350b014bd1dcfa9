// SPDX-License-Identifier: Apache-2.0
// The contract of a selector: which tokens of a head matter. It writes one score per row; it never
// drops anything. Settle drops, and asks no selector about sinks, the exact tail and `recent` rows.
//
// A selector states what it needs, so that nothing else is gathered; how far it must see before it
// decides; and what it remembers of a sequence between steps. It knows no budget and no codec.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "kv/settings.hpp"
#include "kv/shape.hpp"
#include "kv/tensors.hpp"

namespace skvis {

// How far a selector must see before it can judge a row.
enum class Horizon : uint8_t { row, grid, prompt };

enum class GroupReduce : uint8_t { none, mean, max, sum };  // over the query heads of a KV head

// The most rows that stand before the repeated part in a scoring pass: the instruction to repeat.
inline constexpr uint32_t kMostInstruction = 128;

inline constexpr uint32_t kEveryRow = UINT32_MAX;

// What must be gathered for a selector. Nothing else is.
struct SelectorNeeds {
  uint32_t observe = 0;  // column sums of probabilities over the last so many query rows
  GroupReduce reduce = GroupReduce::none;  // of these; none: one column sum per query head
  // Rows before the first one that is judged whose column sums matter to its score. Where earlier
  // rows were judged for good, those farther back may come as 0: attention need not look at them.
  uint32_t neighbours = kEveryRow;
  bool totals = false;         // column sums over all query rows since a row was written
  bool query_moments = false;  // mean and covariance of the queries before RoPE
  uint32_t moments_from = 0;   // queries before this position do not count in them
  bool keys = false;           // keys after RoPE, decoded
  bool values = false;
  bool output_norms = false;  // what a row's value can add to the hidden state
  // A second reading of the prompt, in parts of so many tokens, writes each row's state (KVzip).
  uint32_t scoring_pass = 0;

  // What both need.
  SelectorNeeds operator|(const SelectorNeeds& other) const;
};

// All that a selector sees of one head when the sequence settles. Rows are the live rows of the
// head in the order of their positions; arrays that were not asked for are null.
struct SelectorView {
  HeadId id = {};
  uint32_t group_size = 1;  // query heads of this KV head
  uint32_t rows = 0;
  uint32_t tokens = 0;                  // tokens of the sequence so far; positions are below it
  const uint32_t* positions = nullptr;  // [rows] true positions, ascending
  const uint8_t* droppable = nullptr;   // [rows] 0: sinks, the newest rows, rows judged for good
  const uint8_t* exact = nullptr;       // [rows] 1: not encoded yet, rows may merge into it
  // After the budget has spoken: how many rows the head keeps, those not droppable included.
  uint32_t keep = 0;
  const float* columns = nullptr;  // [group_size or 1, rows] column sums of probabilities
  uint32_t query_rows = 0;         // how many query rows the sums run over
  uint32_t columns_from = 0;  // rows before this one have no sums: what they score is for nothing
  // [rows] probabilities summed over all queries since the row was written, which are `tokens`
  // minus its position; mean of the group.
  const float* totals = nullptr;
  const float* query_mean = nullptr;        // [group_size, head_dim] before RoPE
  const float* query_covariance = nullptr;  // [group_size, head_dim (head_dim + 1) / 2] upper half
  uint32_t query_count = 0;                 // queries that these are taken over
  RowsView keys = {};                       // [rows, head_dim]
  RowsView values = {};
  const float* output_norms = nullptr;  // [rows] mean over the group of |W_o v|, sum of magnitudes
  float* state = nullptr;               // [rows, state_per_row] the selector's own, moves with rows
  float* head_state = nullptr;          // [state_per_head] from zero; moves with the sequence
  float attention_scale = 1;
  const RotaryTable* rotary = nullptr;
  const NamedTensors* data = nullptr;  // what the plan's `data` file holds

  const float* row_state(uint32_t j, uint32_t floats) const { return state + size_t{j} * floats; }
};

// One row of one head as it is written, for selectors that judge it then.
struct RowInput {
  HeadId id = {};
  uint32_t group_size = 1;
  uint32_t position = 0;
  std::span<const float> hidden = {};       // the attention input of the token
  std::span<const float> key = {};          // [head_dim] before RoPE
  std::span<const float> rotated_key = {};  // [head_dim]
  std::span<const float> value = {};        // [head_dim]
};

// A row that is not kept but added to another one: both are indices into the view. A target's own
// weights come as an entry with row == target; without one it gives way. The new key is the sum of
// key_weight times the rows' keys, the new value likewise.
struct Merge {
  uint32_t row = 0;
  uint32_t target = 0;  // kept, and exact
  float key_weight = 0;
  float value_weight = 0;
};

struct Selector {
  std::string_view name;
  std::string_view summary;  // one line for tables and --help
  Horizon horizon = Horizon::grid;
  bool sees_later_queries = false;  // the choice depends on queries after the row
  // One list of rows for all heads of a layer: the mean of their scores, for each position,
  // decides.
  bool per_layer = false;
  std::span<const Parameter> parameters = {};
  uint32_t state_per_row = 0;   // floats that live and move with each row
  uint32_t state_per_head = 0;  // floats of each head
  // Set where the plan must name a data file: is it what this selector reads, for this shape?
  Result<void> (*check_data)(const NamedTensors& data, const CacheShape& shape) = nullptr;
  SelectorNeeds (*needs)(const Settings& settings) = nullptr;
  // Optional: writes row_state [state_per_row] when the row is written. Called from workers.
  void (*observe)(const Settings& settings, const NamedTensors* data, const RowInput& row,
                  float* row_state) = nullptr;
  // scores [rows]: higher is kept first; ties go to the older row. Minus infinity drops the row
  // whatever the budget leaves. Never NaN.
  void (*score)(const Settings& settings, const SelectorView& view, float* scores) = nullptr;
  // Optional: may change the order once the budget has said how many rows stay (view.keep).
  void (*rerank)(const Settings& settings, const SelectorView& view, float* scores) = nullptr;
  // Optional: rows that merge instead of vanishing, once `kept` (ascending indices) is known.
  std::vector<Merge> (*merge)(const Settings& settings, const SelectorView& view,
                              const float* scores, std::span<const uint32_t> kept) = nullptr;
  // Optional: how many rows of `rows` that were seen in `layer` of `layers` the next one sees. The
  // others have no keys and values in later layers. Their choice follows the scores of all heads of
  // the layer at the prompt's end; sinks and the newest rows go on. Needs Horizon::prompt.
  uint32_t (*propagate)(const Settings& settings, uint32_t layer, uint32_t layers,
                        uint32_t rows) = nullptr;
};

// What a plan may do to the scores of any selector: `refine` in its `keep`.
struct Refinement {
  std::string_view name;
  std::string_view summary;
  Horizon horizon = Horizon::row;
  bool after_budget = false;  // false: budgets see the refined scores; true: only the order changes
  std::span<const Parameter> parameters = {};
  SelectorNeeds (*needs)(const Settings& settings) = nullptr;
  void (*apply)(const Settings& settings, const SelectorView& view, float* scores) = nullptr;
};

// The registry. `all` is not in it: a plan without a selector keeps every row.
std::span<const Selector* const> selectors();
const Selector* find_selector(std::string_view name);
std::span<const Refinement* const> refinements();
const Refinement* find_refinement(std::string_view name);

}  // namespace skvis
