// SPDX-License-Identifier: Apache-2.0
// GET /health and GET /version. The listener opens when the model is loaded: who gets an answer
// gets a good one.
#include "server/routes.hpp"

namespace skvis {

HttpResponse health() {
  return json_response({{"status", "ok"}});
}

HttpResponse version() {
  return json_response({{"version", SKVIS_VERSION}});
}

}  // namespace skvis
