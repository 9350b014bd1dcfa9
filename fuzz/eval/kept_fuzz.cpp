// SPDX-License-Identifier: Apache-2.0
// Lists of kept rows from another program. What is taken must come out the same when it is written
// and read again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "eval/kept.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skvis;
  const auto json = parse_json(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!json) return 0;
  CacheShape shape;
  shape.layers = 1;
  shape.kv_heads = 2;
  const auto kept = kept_from_json(*json, "fuzz", shape);
  if (!kept) return 0;
  const Json written = kept_to_json(*kept, shape, (*json)["tokens"].get<uint32_t>());
  const auto again = kept_from_json(written, "fuzz", shape);
  if (!again || *again != *kept || agreement(*again, *kept).worst != 1) std::abort();
  return 0;
}
