// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: refused with a message, or every tensor it promises is readable.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "formats/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skvis;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto header = parse_safetensors(bytes, "fuzz");
  if (!header) {
    if (header.error().message.empty()) std::abort();
    return 0;
  }
  size_t covered = 0;
  for (const SafetensorsEntry& entry : header->tensors) {
    covered += entry.data.size();
    if (const auto tensor = to_tensor(entry, "fuzz")) (void)check_finite(*tensor).ok();
  }
  if (covered > size) std::abort();  // overlapping tensors were let through
  return 0;
}
