// SPDX-License-Identifier: Apache-2.0
#include "server/routes.hpp"

#include <algorithm>

namespace skvis {
namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";

enum class Method : uint8_t { get, post };

// Nothing where there is no such route.
std::optional<Method> method_of(std::string_view path) {
  constexpr std::string_view kGet[] = {"/", "/health", "/version", "/metrics", "/v1/models"};
  constexpr std::string_view kPost[] = {"/v1/chat/completions", "/v1/completions", "/tokenize",
                                        "/detokenize"};
  if (std::find(std::begin(kGet), std::end(kGet), path) != std::end(kGet)) return Method::get;
  if (std::find(std::begin(kPost), std::end(kPost), path) != std::end(kPost)) return Method::post;
  if (path.starts_with(kModelPrefix) && path.size() > kModelPrefix.size()) return Method::get;
  return std::nullopt;
}

bool is_json(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.pop_back();
  std::transform(type.begin(), type.end(), type.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return type == "application/json";
}

HttpResponse wrong_key(std::string_view authorization) {
  return error_response({.status = 401,
                         .message = authorization.empty()
                                        ? "a key is needed: send 'Authorization: Bearer KEY'"
                                        : "the key in 'Authorization' is not one of this server's",
                         .type = "authentication_error",
                         .code = "invalid_api_key"});
}

template <typename Request, typename Prepare>
Reply job_or_error(const ApiResult<Request>& request, const ServerContext& context,
                   Prepare prepare) {
  if (!request) return error_response(request.error());
  ApiResult<AnswerJob> job = prepare(context, *request);
  if (!job) return error_response(job.error());
  return std::move(*job);
}

}  // namespace

Router::Router(ServerContext context, ApiKeys keys, const Metrics& metrics,
               std::function<ServiceFigures()> figures)
    : context_(std::move(context)),
      keys_(std::move(keys)),
      metrics_(metrics),
      figures_(std::move(figures)) {}

std::optional<HttpResponse> Router::refuse_head(const HttpRequest& request) const {
  if (request.path != "/health" && !keys_.allow(request.authorization)) {
    return wrong_key(request.authorization);
  }
  const std::optional<Method> method = method_of(request.path);
  if (!method) {
    return error_response(
        {.status = 404,
         .message = fmt::format("there is nothing at {}; `/` lists what is", request.path),
         .code = "not_found"});
  }
  const bool get = request.method == "GET" || request.method == "HEAD";
  if (*method == Method::get ? !get : request.method != "POST") {
    const char* allowed = *method == Method::get ? "GET, HEAD" : "POST";
    HttpResponse response = error_response(
        {.status = 405,
         .message = fmt::format("{} takes {}, found {}", request.path, allowed, request.method),
         .code = "method_not_allowed"});
    response.headers.emplace_back("Allow", allowed);
    return response;
  }
  if (*method == Method::post && !is_json(request.content_type)) {
    return error_response(bad_request(
        fmt::format("Content-Type must be application/json, found {}",
                    request.content_type.empty() ? "none" : "'" + request.content_type + "'"),
        {}, "unsupported_content_type"));
  }
  return std::nullopt;
}

Reply Router::answer(const HttpRequest& request) const {
  try {
    return request.method == "POST" ? answer_post(request) : answer_get(request);
  } catch (const std::exception& problem) {
    return error_response(server_error(problem.what()));
  }
}

Reply Router::answer_get(const HttpRequest& request) const {
  if (request.path == "/health") return health();
  if (request.path == "/version") return version();
  if (request.path == "/metrics") return metrics_.response(figures_());
  if (request.path == "/v1/models") return list_models(context_);
  if (request.path == "/") return index_page(context_, figures_());
  return show_model(context_, std::string_view(request.path).substr(kModelPrefix.size()));
}

Reply Router::answer_post(const HttpRequest& request) const {
  if (request.path == "/v1/chat/completions") {
    return job_or_error(parse_chat_request(request.body), context_, prepare_chat);
  }
  if (request.path == "/v1/completions") {
    return job_or_error(parse_completion_request(request.body), context_, prepare_completion);
  }
  if (request.path == "/tokenize") return tokenize(context_, request.body);
  return detokenize(context_, request.body);
}

}  // namespace skvis
