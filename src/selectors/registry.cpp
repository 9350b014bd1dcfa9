// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include "selectors/entries.hpp"

namespace skvis {

std::span<const Selector* const> selectors() {
  static constexpr std::array<const Selector*, 17> kAll = {
      &kStreaming, &kSnapkv, &kKnorm, &kKeydiff,  &kLagkv, &kTova, &kChunk,  &kH2o,   &kH2oGrid,
      &kExpected,  &kTree,   &kEms,   &kQFilters, &kKvzip, &kGate, &kFastkv, &kUncomp};
  return kAll;
}

const Selector* find_selector(std::string_view name) {
  for (const Selector* selector : selectors()) {
    if (selector->name == name) return selector;
  }
  return nullptr;
}

std::span<const Refinement* const> refinements() {
  static constexpr std::array<const Refinement*, 2> kAll = {&kCritical, &kSpectral};
  return kAll;
}

const Refinement* find_refinement(std::string_view name) {
  for (const Refinement* refinement : refinements()) {
    if (refinement->name == name) return refinement;
  }
  return nullptr;
}

SelectorNeeds SelectorNeeds::operator|(const SelectorNeeds& other) const {
  SelectorNeeds both = *this;
  if (other.observe > 0) both.reduce = other.reduce;
  both.observe = std::max(observe, other.observe);
  both.neighbours = std::max(neighbours, other.neighbours);
  both.totals |= other.totals;
  both.query_moments |= other.query_moments;
  both.moments_from = std::max(moments_from, other.moments_from);
  both.keys |= other.keys;
  both.values |= other.values;
  both.output_norms |= other.output_norms;
  both.scoring_pass = std::max(scoring_pass, other.scoring_pass);
  return both;
}

double norm_of(const RowsView& rows, size_t j) {
  double squares = 0;
  for (size_t c = 0; c < rows.head_dim; ++c) squares += double{rows.row(j)[c]} * rows.row(j)[c];
  return std::sqrt(squares);
}

}  // namespace skvis
