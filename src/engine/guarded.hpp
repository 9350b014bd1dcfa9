// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>

#include "base/result.hpp"

namespace skvis {

// Runs what calls back into code of others; memory may run out there or here.
template <typename Body>
Result<void> guarded(const Body& body) {
  try {
    return body();
  } catch (const std::exception& problem) {
    return fail("{}", problem.what());
  }
}

}  // namespace skvis
