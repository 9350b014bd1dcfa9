// SPDX-License-Identifier: Apache-2.0
// FastKV (Jo et al., 2025): two decisions that do not touch each other. In every layer SnapKV's
// score says which rows of the cache stay. After one layer, the token-selective one, only the best
// `rate` of the prompt's tokens go on to the layers behind it, which saves their reading.
//
//   tokens after layer full_layers - 1: floor(rate * rows), by the sum of the layer's scores
//
// The paper has 16 of 32, 18 of 36 and 20 of 40 layers read everything: half of them.
#include <array>
#include <cmath>

#include "selectors/entries.hpp"
#include "selectors/snapkv.hpp"

namespace skvis {
namespace {

constexpr Parameter kObserve = {.name = "observe", .fallback = 8, .min = 1, .max = 1024};
constexpr Parameter kKernel = {.name = "kernel", .fallback = 7, .min = 1, .max = 63, .odd = true};
constexpr Parameter kPool = {
    .name = "pool", .fallback = 1, .min = 0, .max = 1, .words = snapkv::kPools};
constexpr Parameter kRate = {
    .name = "rate", .fallback = 0.2, .min = 0.001, .max = 1, .whole = false};
constexpr Parameter kFullLayers = {.name = "full_layers", .fallback = 0, .min = 0, .max = 65536};
constexpr std::array<Parameter, 6> kParameters = {kObserve,       kKernel, kPool,
                                                  snapkv::kGroup, kRate,   kFullLayers};

SelectorNeeds needs(const Settings& settings) {
  return {.observe = whole_of(settings, kObserve)};
}

uint32_t propagate(const Settings& settings, uint32_t layer, uint32_t layers, uint32_t rows) {
  const uint32_t given = whole_of(settings, kFullLayers);
  const uint32_t full = given > 0 ? given : (layers + 1) / 2;
  if (layer + 1 < full) return rows;
  return static_cast<uint32_t>(std::floor(value_of(settings, kRate) * rows));
}

}  // namespace

const Selector kFastkv = {
    .name = "fastkv",
    .summary = "snapkv, and after half of the layers only the best tokens go on (FastKV)",
    .horizon = Horizon::prompt,
    .sees_later_queries = true,
    .parameters = kParameters,
    .needs = needs,
    .score = snapkv::score,
    .propagate = propagate,
};

}  // namespace skvis
