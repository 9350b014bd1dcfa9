// SPDX-License-Identifier: Apache-2.0
// Bodies of requests from anywhere. The first byte says which route reads them.
#include <cstdint>

#include "server/request.hpp"

namespace {

// What is answered to a wrong body must itself be right.
template <typename T>
void check(const skvis::ApiResult<T>& result) {
  if (result) return;
  const skvis::HttpResponse response = skvis::error_response(result.error());
  if (response.status != 400 || !skvis::parse_json(response.body, "error")) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      check(skvis::parse_chat_request(body));
      break;
    case 1: {
      const auto request = skvis::parse_completion_request(body);
      if (request && request->prompts.empty()) __builtin_trap();
      check(request);
      break;
    }
    case 2:
      check(skvis::parse_tokenize_request(body));
      break;
    case 3:
      check(skvis::parse_detokenize_request(body));
      break;
    case 4:
      skvis::path_of_target(body);
      break;
  }
  return 0;
}
