// SPDX-License-Identifier: Apache-2.0
// KVzip (Kim et al., 2025): a row is worth what the model attends to it when it is asked to repeat
// the prompt. Whatever is asked later, the choice does not depend on it.
//
//   score[j] = max over the group and the rows i that repeat j's part of the prompt of A[i, j]
//
// with A a softmax over j's part, the first four rows and the repeating rows themselves. The engine
// makes the second reading (engine/scoring_pass.hpp) and writes the score into the row's state.
//
// Published with one threshold over all heads: budget=cross-layer safeguard=0. What a chat template
// puts before the text is kept whole there: sinks=N.
#include <array>
#include <cmath>

#include "selectors/entries.hpp"

namespace skvis {
namespace {

constexpr Parameter kChunk = {.name = "chunk", .fallback = 2048, .min = 16, .max = 16384};
constexpr std::array<Parameter, 1> kParameters = {kChunk};

SelectorNeeds needs(const Settings& settings) {
  return {.scoring_pass = whole_of(settings, kChunk)};
}

void score(const Settings&, const SelectorView& view, float* scores) {
  for (uint32_t j = 0; j < view.rows; ++j) {
    scores[j] = std::isfinite(view.state[j]) ? view.state[j] : 0.0f;
  }
}

}  // namespace

const Selector kKvzip = {
    .name = "kvzip",
    .summary = "what the model attends to when it repeats the prompt (KVzip)",
    .horizon = Horizon::prompt,
    .sees_later_queries = true,
    .parameters = kParameters,
    .state_per_row = 1,
    .needs = needs,
    .score = score,
};

}  // namespace skvis
