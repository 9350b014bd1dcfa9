// SPDX-License-Identifier: Apache-2.0
// Logging goes to standard error through spdlog; standard output belongs to results.
#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

#include "base/result.hpp"

namespace skvis {

// Sets up the default logger once; `level` is trace, debug, info, warn, error or off.
Result<void> set_up_log(std::string_view level);

}  // namespace skvis
