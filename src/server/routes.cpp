// SPDX-License-Identifier: Apache-2.0
#include "server/routes.hpp"

#include <algorithm>

namespace skvis {
namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kGet = "GET, HEAD";
constexpr std::string_view kPost = "POST";

constexpr Route kRoutes[] = {
    {.path = "/"},
    {.path = "/health", .open = true},
    {.path = "/version"},
    {.path = "/metrics"},
    {.path = "/openapi.json"},
    {.path = "/v1/models"},
    {.path = "/v1/models/{model}"},
    {.path = "/v1/chat/completions", .post = true},
    {.path = "/v1/completions", .post = true},
    {.path = "/tokenize", .post = true},
    {.path = "/detokenize", .post = true},
    {.path = "/apply-template", .post = true},
};

// Null where there is no such route.
const Route* find_route(std::string_view path) {
  for (const Route& route : kRoutes) {
    const std::string_view prefix = route.path.substr(0, route.path.find('{'));
    const bool below = prefix.size() < route.path.size() && path.size() > prefix.size();
    if (path == route.path || (below && path.starts_with(prefix))) return &route;
  }
  return nullptr;
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
                   std::string_view authorization, Prepare prepare) {
  if (!request) return error_response(request.error());
  ApiResult<AnswerJob> job = prepare(context, *request);
  if (!job) return error_response(job.error());
  if (const auto& seconds = request->options.sse_ping_interval) {
    job->keep_alive = std::chrono::seconds(std::max<int64_t>(*seconds, 0));
  }
  job->queue = request->options.queue;
  job->client = fmt::format("{}\n{}", authorization, job->queue.user);
  return std::move(*job);
}

}  // namespace

std::span<const Route> all_routes() {
  return kRoutes;
}

Router::Router(ServerContext context, ApiKeys keys, CorsPolicy cors, const Metrics& metrics,
               std::function<ServiceFigures()> figures)
    : context_(std::move(context)),
      keys_(std::move(keys)),
      cors_(std::move(cors)),
      metrics_(metrics),
      figures_(std::move(figures)) {
  if (!context_.grammars) context_.grammars = std::make_shared<GrammarStore>(context_.engine);
}

std::optional<HttpResponse> Router::answer_head(const HttpRequest& request) const {
  const Route* route = find_route(request.path);
  // Browsers ask without the key whether they may send it.
  if (request.method == "OPTIONS" && (route != nullptr || request.path == "*")) {
    return answer_options(request);
  }
  if (!(route != nullptr && route->open) && !keys_.allow(request.authorization)) {
    return wrong_key(request.authorization);
  }
  if (route == nullptr) {
    return error_response(
        {.status = 404,
         .message = fmt::format("there is nothing at {}; `/` lists what is", request.path),
         .code = "not_found"});
  }
  const bool get = request.method == "GET" || request.method == "HEAD";
  if (route->post ? request.method != "POST" : !get) {
    const std::string_view allowed = route->post ? kPost : kGet;
    HttpResponse response = error_response(
        {.status = 405,
         .message = fmt::format("{} takes {}, found {}", request.path, allowed, request.method),
         .code = "method_not_allowed"});
    response.headers.emplace_back("Allow", allowed);
    return response;
  }
  if (route->post && !is_json(request.content_type)) {
    return error_response(bad_request(
        fmt::format("Content-Type must be application/json, found {}",
                    request.content_type.empty() ? "none" : "'" + request.content_type + "'"),
        {}, "unsupported_content_type"));
  }
  return std::nullopt;
}

HttpResponse Router::answer_options(const HttpRequest& request) const {
  const Route* route = find_route(request.path);
  const std::string methods = fmt::format(
      "{}, OPTIONS", route == nullptr ? "GET, HEAD, POST" : (route->post ? kPost : kGet));
  HttpResponse response{.status = 204,
                        .content_type = {},
                        .headers = cors_.preflight(methods, request.preflight_fields)};
  response.headers.emplace_back("Allow", methods);
  return response;
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
  if (request.path == "/openapi.json") return openapi();
  if (request.path == "/v1/models") return list_models(context_);
  if (request.path == "/") return index_page(context_, figures_());
  return show_model(context_, std::string_view(request.path).substr(kModelPrefix.size()));
}

Reply Router::answer_post(const HttpRequest& request) const {
  if (request.path == "/v1/chat/completions") {
    return job_or_error(parse_chat_request(request.body), context_, request.authorization,
                        prepare_chat);
  }
  if (request.path == "/v1/completions") {
    return job_or_error(parse_completion_request(request.body), context_, request.authorization,
                        prepare_completion);
  }
  if (request.path == "/tokenize") return tokenize(context_, request.body);
  if (request.path == "/apply-template") return apply_template(context_, request.body);
  return detokenize(context_, request.body);
}

}  // namespace skvis
