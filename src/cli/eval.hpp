// SPDX-License-Identifier: Apache-2.0
// What the subcommands of `skvis eval` share that compare plans.
#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"
#include "eval/cells.hpp"
#include "eval/compared_plans.hpp"
#include "eval/statistics.hpp"

namespace skvis {

void add_eval_needle(CLI::App& eval, Action& action);
void add_eval_text(CLI::App& eval, Action& action);  // ppl and kld

struct CompareOptions {
  ModelOptions model;
  std::string baseline = "full";
  std::string plans;             // with commas between them
  std::vector<std::string> kvs;  // one each, may hold commas
  std::string noise_floor;       // a level of kernels
  std::string json;
  bool resume = false;

  void add_to(CLI::App& command);
  // Loads the model, once more for the noise floor, and resolves all plans.
  Result<ComparedPlans> start() const;
  Result<CellFile> open_cells() const { return CellFile::open(json, resume); }
};

// "0.958 ±0.042", or without the error where there is none.
std::string with_error(const Estimate& value, int digits, bool sign = false);

// Columns side by side: the first one as wide as its longest text, the others to the right.
void print_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace skvis
