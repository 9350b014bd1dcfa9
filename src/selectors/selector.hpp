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

namespace skvis {

// How far a selector must see before it can judge a row.
enum class Horizon : uint8_t { row, grid, prompt };

// Which attention probabilities are summed over query rows: one column sum per row of the cache.
enum class QueryRows : uint8_t { none, last, sampled, all };
enum class GroupReduce : uint8_t { none, mean, max, sum };  // over the query heads of a KV head

// What must be gathered for a selector.
struct SelectorNeeds {
  QueryRows columns = QueryRows::none;     // column sums of probabilities over these query rows
  uint32_t observe = 0;                    // last: how many; sampled: how many besides the last
  GroupReduce reduce = GroupReduce::none;  // none: one column sum per query head
  bool keys = false;                       // keys after RoPE, decoded
  bool values = false;
  bool queries = false;  // the observed queries themselves, after RoPE
  bool queries_before_rope = false;
  bool hidden = false;  // the attention input of each new row
};

// All that a selector sees of one head when the sequence settles. Rows are the live rows of the
// head in the order of their positions; arrays that were not asked for are null.
struct SelectorView {
  HeadId id = {};
  uint32_t group_size = 1;  // query heads of this KV head
  uint32_t rows = 0;
  uint32_t tokens = 0;                  // tokens of the sequence so far; positions are below it
  const uint32_t* positions = nullptr;  // [rows] true positions, ascending
  const float* columns = nullptr;       // [group_size or 1, rows] column sums of probabilities
  uint32_t query_rows = 0;              // how many query rows the sums run over
  const float* queries = nullptr;       // [group_size, query_rows, head_dim]
  RowsView keys = {};                   // [rows, head_dim]
  RowsView values = {};
  float* state = nullptr;  // [rows, state_per_row] the selector's own, moves with rows
};

// A row that is not kept but added to another one (EMS, merging): rows are indices into the view.
struct Merge {
  uint32_t row = 0;
  uint32_t target = 0;
  float weight = 0;
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
  uint32_t state_per_row = 0;  // floats that live and move with each row
  SelectorNeeds (*needs)(const Settings& settings) = nullptr;
  // scores [rows]: higher is kept first; ties go to the older row. Never NaN.
  void (*score)(const Settings& settings, const SelectorView& view, float* scores) = nullptr;
  // Optional: rows that merge instead of vanishing, once `kept` (ascending indices) is known.
  std::vector<Merge> (*merge)(const Settings& settings, const SelectorView& view,
                              std::span<const uint32_t> kept) = nullptr;
};

// The registry. `all` is not in it: a plan without a selector keeps every row.
std::span<const Selector* const> selectors();
const Selector* find_selector(std::string_view name);

}  // namespace skvis
