// SPDX-License-Identifier: Apache-2.0
// H2O, also called observed attention (Zhang et al., 2023): what all queries attended to.
//
//   score[j] = mean over the group of sum over queries i >= j of A[i, j], over the tokens - j
//              queries that could see row j
//
// The division is kvpress's: without it (`normalise` no, as published) old rows win because more
// queries saw them. The paper also keeps half of its budget for recent rows: plans say `recent`.
#include <array>
#include <cmath>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr std::array<std::string_view, 2> kNoYes = {"no", "yes"};
constexpr Parameter kNormalise = {
    .name = "normalise", .fallback = 1, .min = 0, .max = 1, .words = kNoYes};
constexpr std::array<Parameter, 1> kParameters = {kNormalise};

SelectorNeeds needs(const Settings&) {
  return {.totals = true};
}

void score(const Settings& settings, const SelectorView& view, float* scores) {
  const bool normalise = value_of(settings, kNormalise) == 1;
  for (uint32_t j = 0; j < view.rows; ++j) {
    const float total = std::isfinite(view.totals[j]) ? view.totals[j] : 0.0f;
    const auto queries = static_cast<float>(view.tokens - view.positions[j]);
    scores[j] = normalise ? total / queries : total;
  }
}

}  // namespace

const Selector kH2o = {
    .name = "h2o",
    .summary = "what all queries of the prompt attended to (H2O)",
    .horizon = Horizon::prompt,
    .sees_later_queries = true,
    .parameters = kParameters,
    .needs = needs,
    .score = score,
};

// Decides at every grid point from the queries so far, which is what H2O does step by step.
const Selector kH2oGrid = {
    .name = "h2o-grid",
    .summary = "what all queries so far attended to, at every grid point (H2O)",
    .horizon = Horizon::grid,
    .sees_later_queries = true,
    .parameters = kParameters,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
