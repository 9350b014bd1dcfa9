// SPDX-License-Identifier: Apache-2.0
// What the calibrations share: texts and the samples that are cut from them.
#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"
#include "text/tokenizer.hpp"

namespace skvis {

struct SampleOptions {
  std::vector<std::string> texts;
  uint32_t samples = 50;
  uint32_t tokens = 1500;

  void add_to(CLI::App& app);
};

// [samples][tokens] Every text gives the same number of samples, spread evenly over it.
Result<std::vector<std::vector<uint32_t>>> cut_samples(const SampleOptions& options,
                                                       const Tokenizer& tokenizer);

// `skvis calibrate duo|entropy`.
void add_calibrate_heads(CLI::App& calibrate, Action& action);
// `skvis calibrate gate` and `skvis calibrate q-filters`.
void add_calibrate_gate(CLI::App& calibrate, Action& action);
void add_calibrate_filters(CLI::App& calibrate, Action& action);

}  // namespace skvis
