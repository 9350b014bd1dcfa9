// SPDX-License-Identifier: Apache-2.0
// Several plans over one model, measured against the first of them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "engine/engine.hpp"

namespace skvis {

// One row of a table.
struct ComparedPlan {
  // The noise floor is the baseline once more on other kernels: what counts as no difference.
  enum class Role : uint8_t { baseline, noise_floor, compared };

  std::string text;  // as it was given
  std::shared_ptr<Engine> engine;
  std::string kernels;  // the level that its steps run at
  Role role = Role::compared;

  const Plan& plan() const { return engine->plan(); }
  // Do its rows stay exact until the prompt's end, whatever its length?
  bool settles_at_prompt_end_only() const;
  // What the plan asks for: the share of `tokens` rows that heads keep, on average, or what `bytes`
  // are of the full cache.
  double nominal_share(uint32_t tokens) const;
};

class ComparedPlans {
 public:
  // Plans over the model and the pool of `baseline`, which comes first. Fails where a plan does.
  static Result<ComparedPlans> create(std::shared_ptr<Engine> baseline, std::string baseline_text,
                                      std::span<const std::string> plans);
  // Adds the baseline once more: an engine with the same plan that was made under another level of
  // kernels, which then stands behind the baseline.
  void add_noise_floor(std::shared_ptr<Engine> engine, std::string level);

  std::span<const ComparedPlan> all() const { return plans_; }
  const ComparedPlan& baseline() const { return plans_.front(); }

 private:
  std::vector<ComparedPlan> plans_;
};

// Sets the kernels for the steps of one plan, and what was set before when it ends.
class PlanKernels {
 public:
  explicit PlanKernels(const ComparedPlan& plan);
  ~PlanKernels();
  PlanKernels(const PlanKernels&) = delete;
  PlanKernels& operator=(const PlanKernels&) = delete;

 private:
  std::string before_;
};

// The name of a cell: what is measured ("needle"), how (a hash of `settings`), under which plan,
// and which of many.
std::string cell_name(std::string_view what, const Json& settings, const ComparedPlan& plan,
                      uint32_t index);
// The members that every cell begins with: name, settings, and what the plan is.
Json cell_begin(std::string_view what, const Json& settings, const ComparedPlan& plan,
                uint32_t index, uint32_t tokens);

}  // namespace skvis
