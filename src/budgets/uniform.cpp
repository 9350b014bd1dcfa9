// SPDX-License-Identifier: Apache-2.0
// The same number of tokens for every head that drops any: a share of the tokens, a number, or what
// a sequence's bytes allow.
//
// Bytes: first come the heads that keep everything. What is left is dealt out one row per head in
// turn until the next row does not fit; since the turns are fixed, more bytes never give a head
// less.
#include <algorithm>
#include <vector>

#include "budgets/entries.hpp"

namespace skvis {
namespace {

// Bytes as exact 64-bit integers: 2^32 tokens of 2^20 heads of 2^12 bytes fit a signed 64-bit sum.
struct Costs {
  uint64_t selectable_exact = 0;  // one exact row in every selectable head
  uint64_t selectable_coded = 0;  // one encoded row in every selectable head
};

// What `rows` rows of a head cost: the exact ones first, since they are never dropped.
uint64_t head_bytes(const BudgetRequest& request, uint32_t i, uint32_t rows) {
  const uint32_t exact = std::min(rows, request.exact_rows);
  return uint64_t{exact} * request.exact_row_bytes + uint64_t{rows - exact} * request.row_bytes[i];
}

// What is left for selectable heads once the others hold all their rows of `tokens` tokens.
uint64_t left_for_selectable(const BudgetRequest& request, uint64_t budget, uint32_t tokens) {
  uint64_t used = 0;
  for (uint32_t i = 0; i < request.row_bytes.size(); ++i) {
    if (drops_rows(request, i)) continue;
    const HeadId id = request.shape->head(i);
    used += head_bytes(request, i, rows_without_dropping(*request.shape, id.layer, tokens));
  }
  return budget > used ? budget - used : 0;
}

uint64_t byte_amount(const BudgetRequest& request) {
  return request.amount.value >= 1e18 ? uint64_t{1} << 62
                                      : static_cast<uint64_t>(std::max(0.0, request.amount.value));
}

Costs costs(const BudgetRequest& request) {
  Costs sum;
  for (uint32_t i = 0; i < request.row_bytes.size(); ++i) {
    if (!drops_rows(request, i)) continue;
    sum.selectable_exact += request.exact_row_bytes;
    sum.selectable_coded += request.row_bytes[i];
  }
  return sum;
}

// Whole turns that `left` bytes pay for: so many rows in every selectable head.
uint32_t whole_turns(const BudgetRequest& request, const Costs& cost, uint64_t& left) {
  uint64_t turns = std::min(request.exact_rows, request.tokens);
  if (cost.selectable_exact > 0) turns = std::min(turns, left / cost.selectable_exact);
  left -= turns * cost.selectable_exact;
  if (turns == request.exact_rows && cost.selectable_coded > 0) {
    const uint64_t coded = std::min<uint64_t>(request.tokens - turns, left / cost.selectable_coded);
    left -= coded * cost.selectable_coded;
    turns += coded;
  }
  return static_cast<uint32_t>(turns);
}

void count_bytes(const BudgetRequest& request, std::span<uint32_t> counts) {
  uint64_t left = left_for_selectable(request, byte_amount(request), request.tokens);
  const uint32_t turns = whole_turns(request, costs(request), left);
  bool fits = turns < request.tokens;
  for (uint32_t i = 0; i < counts.size(); ++i) {
    counts[i] = request.tokens;
    if (!drops_rows(request, i)) continue;
    counts[i] = turns;
    const uint64_t row =
        turns < request.exact_rows ? request.exact_row_bytes : request.row_bytes[i];
    fits = fits && row <= left;
    if (!fits) continue;
    left -= row;
    ++counts[i];
  }
  repeat_owners(*request.shape, counts);
}

// Selectable heads hold most where a sequence just fills the budget: before, they hold every token;
// after, the heads that keep all crowd them out.
void bound_bytes(const BudgetRequest& request, std::span<uint32_t> counts) {
  const auto fills = [&](uint32_t tokens) {
    BudgetRequest at = request;
    at.tokens = tokens;
    uint64_t left = left_for_selectable(at, byte_amount(at), tokens);
    return whole_turns(at, costs(at), left) < tokens;
  };
  uint32_t low = 0;  // nothing is dropped yet at `low`; at `high` something is, or it is the end
  uint32_t high = request.tokens;
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    (fills(middle) ? high : low) = middle;
  }
  for (uint32_t i = 0; i < counts.size(); ++i) {
    counts[i] = drops_rows(request, i) ? high : request.tokens;
  }
  repeat_owners(*request.shape, counts);
}

void count(const BudgetRequest& request, std::span<uint32_t> counts) {
  if (request.amount.unit == AmountUnit::bytes) return count_bytes(request, counts);
  for (uint32_t i = 0; i < counts.size(); ++i) {
    counts[i] =
        request.selectable[i] != 0 ? rows_of(request.amount, request.tokens) : request.tokens;
  }
  repeat_owners(*request.shape, counts);
}

void bound(const BudgetRequest& request, std::span<uint32_t> counts) {
  if (request.amount.unit == AmountUnit::bytes) return bound_bytes(request, counts);
  count(request, counts);
}

}  // namespace

const Budget kUniform = {
    .name = "uniform",
    .summary = "the same number of tokens for every head",
    .takes_bytes = true,
    .counts = count,
    .upper_bound = bound,
};

}  // namespace skvis
