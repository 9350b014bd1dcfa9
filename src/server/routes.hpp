// SPDX-License-Identifier: Apache-2.0
// Which function answers which path. No sockets here: a request comes in, a response goes out, or a
// job for the engine.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <variant>

#include "engine/service.hpp"
#include "server/answer.hpp"
#include "server/api_keys.hpp"
#include "server/metrics.hpp"

namespace skvis {

using Reply = std::variant<HttpResponse, AnswerJob>;

// The routes, one file each.
HttpResponse list_models(const ServerContext& context);
HttpResponse show_model(const ServerContext& context, std::string_view id);
HttpResponse tokenize(const ServerContext& context, std::string_view body);
HttpResponse detokenize(const ServerContext& context, std::string_view body);
HttpResponse health();
HttpResponse version();
HttpResponse index_page(const ServerContext& context, const ServiceFigures& figures);

class Router {
 public:
  Router(ServerContext context, ApiKeys keys, const Metrics& metrics,
         std::function<ServiceFigures()> figures);

  // What can be refused before the body is read: a wrong key, path, method or content type.
  std::optional<HttpResponse> refuse_head(const HttpRequest& request) const;
  // Answers a request whose head was accepted. Takes as long as tokenizing its prompt. Never
  // throws.
  Reply answer(const HttpRequest& request) const;

 private:
  Reply answer_get(const HttpRequest& request) const;
  Reply answer_post(const HttpRequest& request) const;

  ServerContext context_;
  ApiKeys keys_;
  const Metrics& metrics_;
  std::function<ServiceFigures()> figures_;
};

}  // namespace skvis
