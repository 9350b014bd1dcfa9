// SPDX-License-Identifier: Apache-2.0
#include "eval/compared_plans.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cassert>

#include "kernels/table.hpp"

namespace skvis {
namespace {

std::string active_level() {
  return std::string(kernels::level_name(kernels::active_kernels().level));
}

void set_level(const std::string& name) {
  [[maybe_unused]] const auto set = kernels::force_level(name);
  assert(set.ok());  // engines exist at levels that exist
}

std::string_view role_name(ComparedPlan::Role role) {
  switch (role) {
    case ComparedPlan::Role::baseline:
      return "baseline";
    case ComparedPlan::Role::noise_floor:
      return "noise floor";
    case ComparedPlan::Role::compared:
      return "compared";
  }
  return "";
}

}  // namespace

bool ComparedPlan::settles_at_prompt_end_only() const {
  return plan().settle.at_prompt_end && plan().settle.next_after(0) == UINT32_MAX;
}

double ComparedPlan::nominal_share(uint32_t tokens) const {
  const KeepRule& keep = plan().keep;
  const uint32_t heads = plan().shape.heads();
  const auto all = static_cast<double>(tokens);
  double sum = 0;
  for (uint32_t head = 0; head < heads; ++head) {
    const Amount& amount = keep.table.empty() ? keep.amount : keep.table[head];
    const double full_bytes = static_cast<double>(engine->layout().full_cache_bytes(tokens));
    const double unit = amount.unit == AmountUnit::ratio    ? 1
                        : amount.unit == AmountUnit::tokens ? all
                                                            : full_bytes;
    sum += plan().heads[head].keep_all ? 1.0 : std::min(1.0, amount.value / unit);
  }
  return sum / heads;
}

Result<ComparedPlans> ComparedPlans::create(std::shared_ptr<Engine> baseline,
                                            std::string baseline_text,
                                            std::span<const std::string> plans) {
  ComparedPlans compared;
  const std::string level = active_level();
  compared.plans_.push_back({.text = std::move(baseline_text),
                             .engine = baseline,
                             .kernels = level,
                             .role = ComparedPlan::Role::baseline});
  for (const std::string& text : plans) {
    SKVIS_TRY(std::shared_ptr<Engine> engine, baseline->with_plan(text));
    for (const ComparedPlan& other : compared.plans_) {
      if (other.plan().identity == engine->plan().identity) {
        return fail("plans '{}' and '{}' are the same; give each once", other.text, text);
      }
    }
    compared.plans_.push_back({.text = text, .engine = std::move(engine), .kernels = level});
  }
  return compared;
}

void ComparedPlans::add_noise_floor(std::shared_ptr<Engine> engine, std::string level) {
  ComparedPlan floor{.text = fmt::format("{} on {}", baseline().text, level),
                     .engine = std::move(engine),
                     .kernels = std::move(level),
                     .role = ComparedPlan::Role::noise_floor};
  plans_.insert(plans_.begin() + 1, std::move(floor));
}

PlanKernels::PlanKernels(const ComparedPlan& plan) : before_(active_level()) {
  set_level(plan.kernels);
}

PlanKernels::~PlanKernels() {
  set_level(before_);
}

std::string cell_name(std::string_view what, const Json& settings, const ComparedPlan& plan,
                      uint32_t index) {
  const std::string text = dump_json(settings);
  return fmt::format("{}-{:016x}-{:016x}-{}-{}", what, XXH3_64bits(text.data(), text.size()),
                     plan.plan().identity, plan.kernels, index);
}

Json cell_begin(std::string_view what, const Json& settings, const ComparedPlan& plan,
                uint32_t index, uint32_t tokens) {
  const KeepRule& keep = plan.plan().keep;
  Json cell{{"cell", cell_name(what, settings, plan, index)}, {"eval", what}};
  cell.update(settings);
  cell.update(Json{{"index", index},
                   {"plan", plan.text},
                   {"kernels", plan.kernels},
                   {"role", role_name(plan.role)},
                   {"selector", keep.selector != nullptr ? keep.selector->name : "all"},
                   {"budget", keep.budget != nullptr ? keep.budget->name : "none"},
                   {"form", plan.settles_at_prompt_end_only() ? "prompt" : "grid"},
                   {"nominal", plan.nominal_share(tokens)}});
  return cell;
}

}  // namespace skvis
