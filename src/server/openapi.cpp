// SPDX-License-Identifier: Apache-2.0
// GET /openapi.json: docs/openapi.yaml, put into the program when it is built.
#include "server/openapi.hpp"

#include "server/routes.hpp"

namespace skvis {

HttpResponse openapi() {
  return {.body = std::string(openapi_json())};
}

}  // namespace skvis
