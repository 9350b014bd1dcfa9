// SPDX-License-Identifier: Apache-2.0
// GET /v1/models and GET /v1/models/{id}
#include "server/routes.hpp"

namespace skvis {
namespace {

Json model_json(const ServerContext& context) {
  return {{"id", context.model_id},
          {"object", "model"},
          {"created", context.started},
          {"owned_by", "skvis"},
          {"max_model_len", context.engine.context()}};
}

}  // namespace

HttpResponse list_models(const ServerContext& context) {
  Json models = Json::array();
  models.push_back(model_json(context));
  return json_response({{"object", "list"}, {"data", std::move(models)}});
}

HttpResponse show_model(const ServerContext& context, std::string_view id) {
  if (auto error = check_model(context, std::string(id))) return error_response(*error);
  return json_response(model_json(context));
}

}  // namespace skvis
