// SPDX-License-Identifier: Apache-2.0
// What the commands of `skvis calibrate` share: samples of text.
#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"
#include "cli/command.hpp"

namespace skvis {

struct SampleOptions {
  std::vector<std::string> texts;
  uint32_t samples = 50;
  uint32_t tokens = 1500;

  void add_to(CLI::App& app);
  // Every text gives the same number of samples, spread evenly over it.
  Result<std::vector<std::vector<uint32_t>>> cut(const Tokenizer& tokenizer) const;
};

// The tokenizer, or why there is none.
Result<const Tokenizer*> tokenizer_of(const Engine& engine);

void add_calibrate_gate(CLI::App& calibrate, Action& action);
void add_calibrate_filters(CLI::App& calibrate, Action& action);

}  // namespace skvis
