// SPDX-License-Identifier: Apache-2.0
#include "plan/presets.hpp"

#include <algorithm>

#include "base/file.hpp"

namespace skvis {

Result<std::optional<std::string>> find_preset(std::string_view name,
                                               const std::filesystem::path& folder) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  // A name is one part of a path and no way out of the folder.
  if (name.empty() || name.size() > 128 || name.front() == '.' ||
      name.find_first_not_of(kLetters) != name.npos) {
    return std::optional<std::string>();
  }
  if (!folder.empty()) {
    const std::filesystem::path path = folder / (std::string(name) + ".json");
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error)) {
      SKVIS_TRY(std::string text, read_file(path, kLargestPlan));
      return std::optional<std::string>(std::move(text));
    }
  }
  for (const Preset& preset : built_in_presets()) {
    if (preset.name == name) return std::optional<std::string>(std::string(preset.text));
  }
  return std::optional<std::string>();
}

}  // namespace skvis
