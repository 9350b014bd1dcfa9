// SPDX-License-Identifier: Apache-2.0
// Plans known by name: files of plans/, compiled into the program so that it works from anywhere,
// and those of a folder of the user's.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace skvis {

struct Preset {
  std::string_view name;
  std::string_view text;  // JSON
};

// In the order of their names. Written by cmake/presets.cmake.
std::span<const Preset> built_in_presets();

// The preset's JSON: `folder`/<name>.json if there is a folder and it holds one, else the built-in
// one, else nothing. An error where the file exists and cannot be read.
Result<std::optional<std::string>> find_preset(std::string_view name,
                                               const std::filesystem::path& folder);

inline constexpr size_t kLargestPlan = size_t{1} << 20;

}  // namespace skvis
