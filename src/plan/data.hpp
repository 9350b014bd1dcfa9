// SPDX-License-Identifier: Apache-2.0
// The numbers that a plan's `data` file gives its selector: a safetensors file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "base/result.hpp"
#include "kv/tensors.hpp"

namespace skvis {

struct SelectorData {
  std::shared_ptr<const NamedTensors> tensors;
  uint64_t hash = 0;  // of the file's bytes; part of a plan's identity
};

// Refuses what is no safetensors file, NaN and infinite values, and more than 1 GiB of floats.
Result<SelectorData> read_selector_data(const std::filesystem::path& path);

// Writes such a file, in F32. Calibration does.
Result<void> write_selector_data(const std::filesystem::path& path, const NamedTensors& tensors);

}  // namespace skvis
