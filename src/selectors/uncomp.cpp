// SPDX-License-Identifier: Apache-2.0
// UNComp (Xiong et al., 2024): where matrix entropy falls from layer to layer, fewer tokens go on.
// Layers form stages; a layer of stage s of 4 sees
//
//   floor + (rows - floor) / 4 * (4 - s)   of a prompt's rows, all of them up to `floor` rows
//
// and which ones is said by the layer before. The stages are the paper's for 32 layers (2, 13, 11,
// 5 and 1 of them), stretched to the model's number. What stays in the cache is SnapKV's choice;
// budgets by the entropy of heads are the budget `entropy`.
#include <algorithm>
#include <array>

#include "selectors/entries.hpp"
#include "selectors/snapkv.hpp"

namespace skvis {
namespace {

constexpr Parameter kObserve = {.name = "observe", .fallback = 8, .min = 1, .max = 1024};
constexpr Parameter kKernel = {.name = "kernel", .fallback = 7, .min = 1, .max = 63, .odd = true};
constexpr Parameter kPool = {
    .name = "pool", .fallback = 1, .min = 0, .max = 1, .words = snapkv::kPools};
constexpr Parameter kFloor = {.name = "floor", .fallback = 1536, .min = 1, .max = 1 << 20};
constexpr std::array<Parameter, 5> kParameters = {kObserve, kKernel, kPool, snapkv::kGroup, kFloor};

constexpr uint32_t kLayers = 32;
constexpr std::array<uint32_t, 4> kStages = {2, 15, 26, 31};  // the first layers of stages 1 to 4

SelectorNeeds needs(const Settings& settings) {
  return {.observe = whole_of(settings, kObserve)};
}

uint32_t propagate(const Settings& settings, uint32_t layer, uint32_t layers, uint32_t rows) {
  const uint32_t floor = whole_of(settings, kFloor);
  if (rows <= floor) return rows;
  const uint64_t next = uint64_t{layer + 1} * kLayers / layers;
  const auto stage = static_cast<uint32_t>(std::upper_bound(kStages.begin(), kStages.end(), next) -
                                           kStages.begin());
  if (stage == 0) return rows;
  const auto stages = static_cast<uint32_t>(kStages.size());
  return floor + (rows - floor) / stages * (stages - stage);
}

}  // namespace

const Selector kUncomp = {
    .name = "uncomp",
    .summary = "snapkv, and from stage to stage of the layers fewer tokens go on (UNComp)",
    .horizon = Horizon::prompt,
    .sees_later_queries = true,
    .parameters = kParameters,
    .needs = needs,
    .score = snapkv::score,
    .propagate = propagate,
};

}  // namespace skvis
