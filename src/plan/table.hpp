// SPDX-License-Identifier: Apache-2.0
// A resolved plan for people: what each range of layers and heads does and what it costs. Figures
// follow from the sizes of rows; what the pool will hold, pages and reservation included, is the
// cache's to say.
#pragma once

#include <cstdint>
#include <string>

#include "plan/plan.hpp"

namespace skvis {

// Bytes of the rows of one sequence that has just been settled at `tokens` tokens.
struct PlanBytes {
  uint64_t settled = 0;          // rows kept: sinks and exact tail exact, the others encoded
  uint64_t full = 0;             // the full cache: every row in F16
  double settled_per_token = 0;  // settled / tokens
  double full_per_token = 0;
};

PlanBytes plan_bytes(const Plan& plan, uint32_t tokens);

// The table and its summary, several lines, each ending in a newline.
std::string plan_table(const Plan& plan, uint32_t tokens);

// "1536 B", "24.0 KiB", "1.5 GiB".
std::string bytes_text(double bytes);

}  // namespace skvis
