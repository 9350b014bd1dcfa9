// SPDX-License-Identifier: Apache-2.0
// SnapKV's score, for selectors that are built on it.
#pragma once

#include <array>

#include "selectors/selector.hpp"

namespace skvis::snapkv {

inline constexpr std::array<std::string_view, 2> kPools = {"avg", "max"};
inline constexpr std::array<std::string_view, 2> kGroups = {"mean", "max"};
inline constexpr Parameter kObserve = {.name = "observe", .fallback = 32, .min = 1, .max = 1024};
inline constexpr Parameter kKernel = {
    .name = "kernel", .fallback = 5, .min = 1, .max = 63, .odd = true};
inline constexpr Parameter kPool = {
    .name = "pool", .fallback = 0, .min = 0, .max = 1, .words = kPools};
inline constexpr Parameter kGroup = {
    .name = "group", .fallback = 0, .min = 0, .max = 1, .words = kGroups};

SelectorNeeds needs(const Settings& settings);
void score(const Settings& settings, const SelectorView& view, float* scores);

}  // namespace skvis::snapkv
