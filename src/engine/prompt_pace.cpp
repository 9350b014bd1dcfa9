// SPDX-License-Identifier: Apache-2.0
#include "engine/prompt_pace.hpp"

#include <algorithm>

namespace skvis {
namespace {

// What is new weighs so much beside what was known: some ten steps make a figure.
constexpr double kNew = 0.1;
// Before anything is known.
constexpr uint32_t kFirstRows = 64;

void blend(double& known, double value) {
  known = known == 0 ? value : known + kNew * (value - known);
}

}  // namespace

uint32_t PromptPace::rows(uint32_t answers, uint32_t most) const {
  if (answers == 0 || stretch_ <= 0) return most;
  if (answer_step_ == 0 || prompt_row_ == 0) return std::min(most, kFirstRows);
  const double rows = answer_step_ * std::max(0.0, stretch_ - 1) / prompt_row_;
  // Whole blocks of the matrices: a begun one takes as long.
  const auto blocks = static_cast<uint32_t>(std::min<double>(rows, most) / kLeastRows + 1e-6);
  return std::min(most, std::max(1u, blocks) * kLeastRows);
}

void PromptPace::note(uint32_t prompt_rows, uint32_t answers, double seconds) {
  if (prompt_rows == 0) {
    if (answers > 0) blend(answer_step_, seconds);
  } else if (answers == 0 || answer_step_ > 0) {
    const double beside = answers > 0 ? answer_step_ : 0;
    blend(prompt_row_, std::max(0.0, seconds - beside) / prompt_rows);
  }
}

}  // namespace skvis
