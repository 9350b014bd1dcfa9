// SPDX-License-Identifier: Apache-2.0
// Answers that are texts of a grammar, whatever the model would rather say.
#include <regex>

#include "http/server_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kSchema =
    R"({"type":"object","properties":{"color":{"enum":["red","blue"]},
        "count":{"type":"integer","minimum":3,"maximum":120},
        "tags":{"type":"array","items":{"type":"boolean"},"minItems":1,"maxItems":3}},
        "required":["color","count","tags"],"additionalProperties":false})";

class Structured : public ::testing::Test {
 protected:
  Json ask(const std::string& fields, int seed) {
    const ClientResponse response = client_.post(
        "/v1/chat/completions",
        chat_body(fmt::format(R"("max_tokens":200,"temperature":1,"seed":{},)", seed) + fields));
    EXPECT_EQ(response.status, 200) << response.body;
    return response.json()["choices"][0];
  }
  static std::string text(const Json& choice) {
    return choice["message"]["content"].get<std::string>();
  }

  RunningServer server_;
  HttpClient client_{server_.port()};
};

TEST_F(Structured, documents_of_a_schema_are_whole_and_end_by_themselves) {
  for (int seed = 0; seed < 12; ++seed) {
    const Json choice = ask(fmt::format(R"("response_format":{{"type":"json_schema",
        "json_schema":{{"name":"thing","schema":{}}}}})",
                                        kSchema),
                            seed);
    EXPECT_EQ(choice["finish_reason"], "stop");
    const auto parsed = parse_json(text(choice), "answer");
    ASSERT_TRUE(parsed.ok()) << text(choice);
    const Json& document = *parsed;
    EXPECT_EQ(document.size(), 3u);
    EXPECT_TRUE(document["color"] == "red" || document["color"] == "blue");
    EXPECT_GE(document["count"].get<int>(), 3);
    EXPECT_LE(document["count"].get<int>(), 120);
    EXPECT_GE(document["tags"].size(), 1u);
    EXPECT_LE(document["tags"].size(), 3u);
    for (const Json& tag : document["tags"]) EXPECT_TRUE(tag.is_boolean());
  }
}

TEST_F(Structured, choices_patterns_and_grammars_hold_in_any_notation) {
  for (int seed = 0; seed < 6; ++seed) {
    const std::string choice = text(ask(R"("guided_choice":["yes","no","maybe so"])", seed));
    EXPECT_TRUE(choice == "yes" || choice == "no" || choice == "maybe so") << choice;
    const std::string code = text(ask(R"("guided_regex":"[A-Z]{3}-[0-9]{2,4}")", seed));
    EXPECT_TRUE(std::regex_match(code, std::regex("[A-Z]{3}-[0-9]{2,4}"))) << code;
    const std::string list =
        text(ask(R"("ignore_eos":true,"grammar":"root ::= \"<\" item (\",\" item){0,4} \">\"\n)"
                 R"(item ::= [a-c]{1,2}")",
                 seed));
    EXPECT_TRUE(std::regex_match(list, std::regex("<[a-c]{1,2}(,[a-c]{1,2}){0,4}>"))) << list;
  }
}

TEST_F(Structured, a_stream_and_several_choices_hold_to_it_too) {
  const ClientResponse streamed = client_.post(
      "/v1/chat/completions",
      chat_body(
          R"("max_tokens":50,"temperature":1,"n":3,"stream":true,"guided_regex":"[0-9]{5}")"));
  std::vector<std::string> shown(3);
  for (const std::string& event : events_of(streamed.body)) {
    if (event == "[DONE]") continue;
    const auto parsed = parse_json(event, "event");
    ASSERT_TRUE(parsed.ok());
    const Json choice = (*parsed)["choices"][0];
    const Json& delta = choice["delta"];
    if (delta.contains("content") && delta["content"].is_string()) {
      shown[choice["index"].get<size_t>()] += delta["content"].get<std::string>();
    }
  }
  for (const std::string& text : shown) {
    EXPECT_TRUE(std::regex_match(text, std::regex("[0-9]{5}"))) << text;
  }
}

TEST_F(Structured, what_no_grammar_can_be_is_refused_with_its_place) {
  const auto refused = [&](const std::string& fields, const std::string& why) {
    const ClientResponse response =
        client_.post("/v1/chat/completions", chat_body(R"("max_tokens":5,)" + fields));
    EXPECT_EQ(response.status, 400) << response.body;
    EXPECT_EQ(response.json()["error"]["code"], "invalid_grammar");
    EXPECT_THAT(response.json()["error"]["message"].get<std::string>(), HasSubstr(why));
  };
  refused(R"("json_schema":{"type":"object","properties":{"a":{"multipleOf":3}}})", "multipleOf");
  refused(R"("grammar":"root ::= missing")", "missing");
  refused(R"("guided_regex":"(a")", "guided_regex");
}

}  // namespace
}  // namespace skvis::testing
