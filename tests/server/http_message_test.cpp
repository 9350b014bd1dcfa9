// SPDX-License-Identifier: Apache-2.0
#include "server/http_message.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/api_error.hpp"
#include "server/api_keys.hpp"

namespace skvis {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(http_message, an_event_is_one_line_whatever_the_text) {
  EXPECT_EQ(sse_event({{"text", "a\n\nb\r\xff"}}),
            "data: {\"text\":\"a\\n\\nb\\r\xef\xbf\xbd\"}\n\n");
}

TEST(http_message, a_response_says_its_length_and_hides_line_breaks) {
  const HttpResponse response{.status = 405, .body = "body", .headers = {{"Allow", "A\r\nB: c"}}};
  const std::string bytes = response_bytes(response, {});
  EXPECT_THAT(bytes, StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"));
  EXPECT_THAT(bytes, HasSubstr("Allow: A  B: c\r\n"));
  EXPECT_THAT(bytes, HasSubstr("Content-Length: 4\r\n"));
  EXPECT_THAT(bytes, HasSubstr("Connection: keep-alive\r\n"));
  EXPECT_THAT(bytes, EndsWith("\r\n\r\nbody"));
  const std::string head = response_bytes(response, {.keep_alive = false, .head_only = true});
  EXPECT_THAT(head, HasSubstr("Content-Length: 4\r\n"));
  EXPECT_THAT(head, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(head, EndsWith("\r\n\r\n"));
}

TEST(http_message, streams_are_chunked_except_for_old_clients) {
  EXPECT_THAT(stream_head("text/event-stream", {}), HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_EQ(body_piece("0123456789abcdef", {}), "10\r\n0123456789abcdef\r\n");
  EXPECT_EQ(last_piece({}), "0\r\n\r\n");
  const Framing old{.keep_alive = false, .http_1_0 = true};
  EXPECT_THAT(stream_head("text/event-stream", old), Not(HasSubstr("chunked")));
  EXPECT_EQ(body_piece("x", old), "x");
  EXPECT_EQ(last_piece(old), "");
  EXPECT_EQ(body_piece("", {}), "");  // an empty chunk would end the body
}

TEST(http_message, paths_are_decoded) {
  EXPECT_EQ(path_of_target("/v1/models/a%2Fb%20c?x=1"), "/v1/models/a/b c");
  EXPECT_EQ(path_of_target("http://host:1/health"), "/health");
  EXPECT_EQ(path_of_target("http://host"), "/");
  EXPECT_EQ(path_of_target("/a%"), "/a%");
  EXPECT_EQ(path_of_target("/a%2"), "/a%2");
  EXPECT_EQ(path_of_target("/a%zz"), "/a%zz");
  EXPECT_EQ(path_of_target(""), "/");
  EXPECT_EQ(path_of_target("*"), "*");
}

TEST(http_message, errors_have_the_form_of_openai) {
  const HttpResponse response = error_response(bad_request("m", "p", "c"));
  EXPECT_EQ(response.status, 400u);
  EXPECT_EQ(response.body,
            "{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"param\":\"p\","
            "\"code\":\"c\"}}\n");
  EXPECT_THAT(error_response(server_error("m")).body, HasSubstr("\"param\":null,\"code\":null"));
  const HttpResponse busy = error_response(overloaded(429, "busy"));
  ASSERT_EQ(busy.headers.size(), 1u);
  EXPECT_EQ(busy.headers[0].first, "Retry-After");
}

TEST(api_keys, only_a_whole_key_opens) {
  const ApiKeys keys({"first", "second"});
  EXPECT_TRUE(keys.allow("Bearer first"));
  EXPECT_TRUE(keys.allow("bearer  second "));
  for (const char* wrong : {"", "Bearer", "Bearer ", "first", "Bearer firs", "Bearer firstfirst",
                            "Bearer First", "Basic first", "Bearer first second"}) {
    EXPECT_FALSE(keys.allow(wrong)) << wrong;
  }
  EXPECT_TRUE(ApiKeys({}).allow(""));
}

TEST(api_keys, a_file_has_a_key_per_line) {
  const auto keys = parse_api_keys("\n one \r\n\ntwo", "keys");
  ASSERT_TRUE(keys.ok());
  EXPECT_EQ(*keys, (std::vector<std::string>{"one", "two"}));
  EXPECT_FALSE(parse_api_keys("\n \n", "keys").ok());
  const auto spaced = parse_api_keys("one\ntwo words", "keys");
  ASSERT_FALSE(spaced.ok());
  EXPECT_THAT(spaced.error().message, StartsWith("keys:2:"));
}

}  // namespace
}  // namespace skvis
