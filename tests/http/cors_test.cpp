// SPDX-License-Identifier: Apache-2.0
// Pages of other origins, and the questions their browsers ask first.
#include "http/server_testing.hpp"
#include "server/routes.hpp"

namespace skvis::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr const char* kAllowed = "access-control-allow-origin";
constexpr const char* kPage = "Origin: https://page.example\r\n";

ClientResponse preflight(const RunningServer& server, std::string_view path) {
  HttpClient client(server.port());
  client.send(
      fmt::format("OPTIONS {} HTTP/1.1\r\nHost: x\r\n{}"
                  "Access-Control-Request-Method: POST\r\n"
                  "Access-Control-Request-Headers: authorization,x-stainless-os\r\n\r\n"
                  // Had the answer a body, this one would not be read as a response.
                  "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                  path, kPage));
  ClientResponse response = client.receive(false);
  EXPECT_EQ(client.receive().status, 200) << path;
  return response;
}

TEST(cors, every_route_answers_a_preflight_without_a_key) {
  RunningServer server({.api_keys = {"secret"}});
  for (const Route& route : all_routes()) {
    const ClientResponse response = preflight(server, route.path);
    EXPECT_EQ(response.status, 204) << route.path;
    EXPECT_EQ(response.headers.at(kAllowed), "*");
    EXPECT_THAT(response.headers.at("access-control-allow-methods"),
                HasSubstr(route.post ? "POST" : "GET"));
    EXPECT_EQ(response.headers.at("access-control-allow-headers"), "authorization,x-stainless-os");
    EXPECT_FALSE(response.headers.contains("content-length"));
  }
  EXPECT_EQ(preflight(server, "*").status, 204);
  HttpClient client(server.port());
  client.send("OPTIONS /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.receive().status, 401);
}

TEST(cors, answers_errors_and_streams_say_who_may_read_them) {
  RunningServer server({.api_keys = {"secret"}, .max_body = 1000});
  const std::string key = std::string(kPage) + "Authorization: Bearer secret\r\n";
  HttpClient client(server.port());
  EXPECT_EQ(client.get("/v1/models", key).headers.at(kAllowed), "*");
  EXPECT_EQ(client.get("/v1/models", kPage).headers.at(kAllowed), "*");  // 401
  EXPECT_EQ(client.get("/nothing", key).headers.at(kAllowed), "*");
  EXPECT_EQ(client.post("/tokenize", "{", key).headers.at(kAllowed), "*");
  const ClientResponse stream =
      client.post("/v1/completions", R"({"prompt":"a","max_tokens":2,"stream":true})", key);
  EXPECT_EQ(stream.headers.at("content-type"), "text/event-stream");
  EXPECT_EQ(stream.headers.at(kAllowed), "*");
  const ClientResponse large = client.post("/tokenize", std::string(2000, ' '), key);
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(large.headers.at(kAllowed), "*");
  EXPECT_EQ(large.headers.at("access-control-expose-headers"), "Retry-After");
  HttpClient noise(server.port());
  noise.send("nonsense\r\n\r\n");
  EXPECT_EQ(noise.receive().headers.at(kAllowed), "*");
}

TEST(cors, only_the_named_origins_may_read) {
  RunningServer server({.cors_origins = {"https://other.example", "https://page.example"}});
  HttpClient client(server.port());
  const ClientResponse named = client.get("/v1/models", kPage);
  EXPECT_EQ(named.headers.at(kAllowed), "https://page.example");
  EXPECT_EQ(named.headers.at("vary"), "Origin");
  const ClientResponse foreign = client.get("/v1/models", "Origin: https://page.example.evil\r\n");
  EXPECT_EQ(foreign.status, 200);
  EXPECT_FALSE(foreign.headers.contains(kAllowed));
  EXPECT_EQ(foreign.headers.at("vary"), "Origin");
  EXPECT_EQ(preflight(server, "/tokenize").headers.at(kAllowed), "https://page.example");
}

TEST(cors, without_origins_nothing_is_said) {
  RunningServer server({.cors_origins = {}});
  HttpClient client(server.port());
  EXPECT_FALSE(client.get("/v1/models", kPage).headers.contains(kAllowed));
  const ClientResponse asked = preflight(server, "/tokenize");
  EXPECT_EQ(asked.status, 204);
  EXPECT_FALSE(asked.headers.contains("access-control-allow-methods"));
  EXPECT_EQ(asked.headers.at("allow"), "POST, OPTIONS");
}

TEST(cors, what_is_no_origin_is_refused_at_the_start) {
  for (const char* wrong :
       {"page.example", "https://page.example/", "https://", "", "https://a b"}) {
    const auto checked = check_options({.port = 0, .cors_origins = {wrong}});
    ASSERT_FALSE(checked.ok()) << wrong;
    EXPECT_THAT(checked.error().message, HasSubstr("--cors-origin")) << wrong;
  }
  EXPECT_FALSE(check_options({.port = 0, .cors_origins = {"*", "https://a"}}).ok());
  EXPECT_TRUE(check_options({.port = 0, .cors_origins = {"null", "http://localhost:3000"}}).ok());
}

}  // namespace
}  // namespace skvis::testing
