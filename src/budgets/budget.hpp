// SPDX-License-Identifier: Apache-2.0
// The contract of a budget: how many rows each (layer, KV head) may keep. It answers twice: an
// upper bound before the prompt is read, from which memory is reserved, and the counts once a
// sequence settles. It is a cap: a selector with a threshold may keep less, never more.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "kv/settings.hpp"
#include "kv/shape.hpp"

namespace skvis {

enum class AmountUnit : uint8_t { ratio, tokens, bytes };

// How much, as a plan says it: a share of the tokens seen, tokens per head, or bytes per sequence.
struct Amount {
  AmountUnit unit = AmountUnit::ratio;
  double value = 1.0;
};

struct BudgetRequest {
  const CacheShape* shape = nullptr;
  Amount amount = {};
  const Settings* settings = nullptr;  // set where the budget has parameters
  std::span<const Amount> table = {};  // [heads] explicit amounts; empty unless the plan has them
  std::span<const double> head_scores = {};  // [heads] from 0 to 1, where the budget reads scores
  std::span<const uint32_t> row_bytes = {};  // [heads] bytes of one encoded row, keys and values
  std::span<const uint8_t> selectable =
      {};                       // [heads] 0: the head keeps all rows (sliding layers, `all`)
  uint32_t tokens = 0;          // tokens of the sequence so far
  uint32_t protected_rows = 0;  // sinks and newest rows: in every head, never dropped
  // Sinks and exact tail: of each head's rows so many are exact ones of exact_row_bytes each.
  uint32_t exact_rows = 0;
  uint32_t exact_row_bytes = 0;
  // Where the budget asked for scores, and once there are any: of each head the scores of the rows
  // that may be dropped, in the order of positions, and how many rows it holds besides.
  std::span<const std::span<const float>> scores = {};
  std::span<const uint32_t> fixed_rows = {};
};

// Within what a budget moves rows from head to head, so that only their sum is known ahead.
enum class Scope : uint8_t { head, layer, model };

struct Budget {
  std::string_view name;
  std::string_view summary;
  bool needs_scores = false;
  bool needs_table = false;
  bool table_of_scores = false;  // its table says something else of each head than how much
  bool takes_amount = true;
  bool takes_bytes = false;   // besides ratios and tokens
  bool whole_prompt = false;  // compares a prompt's rows with each other: no settling on a grid
  Scope scope = Scope::head;
  std::span<const Parameter> parameters = {};
  // counts [heads]: rows each head may keep of `tokens` tokens, protected rows included. Never more
  // than `tokens`; rounding never exceeds the amount. Exact: bytes are spent to less than one row.
  // Layers that read another layer's rows (shape.owner) repeat its counts and cost nothing. Without
  // scores: what the heads would keep if all scores were alike.
  void (*counts)(const BudgetRequest& request, std::span<uint32_t> counts) = nullptr;
  // [heads] The most that counts() could answer for any number of tokens up to `tokens`, scores
  // unknown. Monotonic in `tokens`.
  void (*upper_bound)(const BudgetRequest& request, std::span<uint32_t> counts) = nullptr;
  // Where scope is not `head`: [heads] shares whose sum over the heads of a scope that scope never
  // exceeds, protected rows apart: a head holds them even where its share is smaller. Monotonic.
  void (*shares)(const BudgetRequest& request, std::span<uint32_t> counts) = nullptr;
};

std::span<const Budget* const> budgets();
const Budget* find_budget(std::string_view name);

}  // namespace skvis
