// SPDX-License-Identifier: Apache-2.0
// Which function answers which path. No sockets here: a request comes in, a response goes out, or a
// job for the engine.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "engine/service.hpp"
#include "server/answer.hpp"
#include "server/api_keys.hpp"
#include "server/cors.hpp"
#include "server/metrics.hpp"

namespace skvis {

using Reply = std::variant<HttpResponse, AnswerJob>;

// The routes, one file each.
HttpResponse list_models(const ServerContext& context);
HttpResponse show_model(const ServerContext& context, std::string_view id);
HttpResponse tokenize(const ServerContext& context, std::string_view body);
HttpResponse detokenize(const ServerContext& context, std::string_view body);
HttpResponse apply_template(const ServerContext& context, std::string_view body);
HttpResponse health();
HttpResponse version();
HttpResponse openapi();
HttpResponse index_page(const ServerContext& context, const ServiceFigures& figures);

// Paths as docs/openapi.yaml writes them: "/v1/models/{model}" stands for every one below it.
struct Route {
  std::string_view path;
  bool post = false;  // otherwise GET and HEAD
  bool open = false;  // without a key
};
std::span<const Route> all_routes();

class Router {
 public:
  Router(ServerContext context, ApiKeys keys, CorsPolicy cors, const Metrics& metrics,
         std::function<ServiceFigures()> figures);

  // Headers of every response to a request from this web page.
  HttpHeaders cors_headers(std::string_view origin) const { return cors_.headers(origin); }
  // What can be answered before the body is read: OPTIONS, and what is refused for its key, path,
  // method or content type.
  std::optional<HttpResponse> answer_head(const HttpRequest& request) const;
  // Answers a request whose head was accepted. Takes as long as tokenizing its prompt. Never
  // throws.
  Reply answer(const HttpRequest& request) const;

 private:
  HttpResponse answer_options(const HttpRequest& request) const;
  Reply answer_get(const HttpRequest& request) const;
  Reply answer_post(const HttpRequest& request) const;

  ServerContext context_;
  ApiKeys keys_;
  CorsPolicy cors_;
  const Metrics& metrics_;
  std::function<ServiceFigures()> figures_;
};

}  // namespace skvis
