// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <algorithm>
#include <array>

namespace skvis {

Result<void> set_up_log(std::string_view level) {
  constexpr std::array<std::string_view, 6> kLevels = {"trace", "debug", "info",
                                                       "warn",  "error", "off"};
  if (std::find(kLevels.begin(), kLevels.end(), level) == kLevels.end()) {
    return fail("log level '{}' is unknown, expected {}", level, fmt::join(kLevels, ", "));
  }
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "skvis", std::make_shared<spdlog::sinks::stderr_color_sink_mt>()));
  spdlog::set_pattern("%H:%M:%S %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(std::string(level)));
  return {};
}

}  // namespace skvis
