// SPDX-License-Identifier: Apache-2.0
// The steps of resolving a plan against a model's shape, apart so that each can be tested.
#pragma once

#include "plan/plan.hpp"
#include "plan/problems.hpp"
#include "plan/read.hpp"

namespace skvis {

// plan.heads' codes and plan.row_bytes. Heads that no rule names store f16.
void resolve_store(const PlanSpec& spec, bool precise, Plan& plan, Problems& problems);

// plan.keep, the heads' keep_all, plan.selectable.
void resolve_keep(const PlanSpec& spec, Plan& plan, Problems& problems);

// What only shows when everything is known: horizons, grids and amounts that contradict each other.
void check_plan(const Plan& plan, Problems& problems);

}  // namespace skvis
