// SPDX-License-Identifier: Apache-2.0
// Prompts with a needle: a sentence with a number, hidden between two words of running text, and
// the question for it, in the words of RULER's single needle (Hsieh et al., 2024).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/loaded_model.hpp"

namespace skvis {

struct NeedleSettings {
  uint32_t context = 2000;  // tokens of the first prompt, at most; it ends with the begun answer
  uint32_t turns = 1;       // needles in the text, asked for one after the other; at most 4
  // Where needles lie, in per cent of the text, in turn; empty: spread evenly from a start that the
  // seed gives.
  std::vector<double> depths;
  uint64_t seed = 1;
};

struct NeedleTurn {
  std::vector<uint32_t> tokens;  // what this turn adds to the conversation, ids
  std::string key;               // the city
  std::string number;            // five digits
  double depth = 0;              // 0 to 1
  uint32_t position = 0;         // the needle's first token, about, counted in the conversation
};

// A conversation. The right answers, not the given ones, stand between its turns, so that a mistake
// costs one turn only.
struct NeedlePrompt {
  std::vector<NeedleTurn> turns;
  uint32_t tokens() const;  // of all turns
};

// The prompt of that number; what it holds depends on the settings, the filler, the model's
// tokenizer and chat template and on nothing else. Fails where the model has no tokenizer, the
// filler is too short, or the question alone is longer than the context.
Result<NeedlePrompt> make_needle_prompt(const LoadedModel& model, const NeedleSettings& settings,
                                        const std::string& filler, uint32_t number);

}  // namespace skvis
