// SPDX-License-Identifier: Apache-2.0
// Any bytes as config.json, generation_config.json and model.safetensors.index.json.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/log.hpp"
#include "formats/config_json.hpp"
#include "formats/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skvis;
  static const bool quiet = set_up_log("off").ok();
  if (!quiet) std::abort();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = parse_model_config(text, "fuzz");
  if (config && !check_config(*config, "fuzz")) std::abort();
  if (!config && config.error().message.empty()) std::abort();
  (void)parse_generation_config(text, "fuzz").ok();
  (void)parse_safetensors_index(text, "fuzz").ok();
  return 0;
}
