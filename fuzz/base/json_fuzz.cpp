// SPDX-License-Identifier: Apache-2.0
// Any bytes as JSON: refused with a message, or read into a value that every reader survives and
// that is the same value after being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skvis;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<Json> value = parse_json(text, "fuzz");
  if (!value) {
    if (value.error().message.empty()) std::abort();
    return 0;
  }
  const Result<Json> again = parse_json(dump_json(*value), "fuzz");
  if (!again || dump_json(*again) != dump_json(*value)) std::abort();
  if (!value->is_object()) return 0;
  for (const auto& [key, member] : value->items()) {
    const bool null = member.is_null();
    if (json_string(*value, key, "fuzz").ok() != member.is_string()) std::abort();
    const Result<int64_t> number = json_int(*value, key, "fuzz", -1000, 1000);
    if (number && (*number < -1000 || *number > 1000)) std::abort();
    const Result<double> real = json_number_or(*value, key, "fuzz", 0, 1, 0.5);
    if (real && !(*real >= 0 && *real <= 1)) std::abort();
    const Result<bool> flag = json_bool_or(*value, key, "fuzz", false);
    if (flag.ok() != (null || member.is_boolean())) std::abort();
  }
  return 0;
}
