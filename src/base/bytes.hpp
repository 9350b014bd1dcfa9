// SPDX-License-Identifier: Apache-2.0
// Sizes as people write and read them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace skvis {

// "1GiB", "512 MiB", "64k", "1.5GB", "1048576": KiB, MiB, GiB, TiB are powers of 1024, kB, MB, GB,
// TB of 1000, and a bare k, M, G, T means the former. `what` names the option in messages.
Result<size_t> parse_bytes(std::string_view text, std::string_view what);

// "23.0 KiB", "1.25 GiB": three significant figures or so.
std::string format_bytes(double bytes);

}  // namespace skvis
