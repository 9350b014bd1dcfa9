// SPDX-License-Identifier: Apache-2.0
// Several answers to one prompt, and what requests may forbid or want of them.
#include <set>

#include "http/server_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::HasSubstr;

Json parse(const std::string& text) {
  auto json = parse_json(text, "event");
  EXPECT_TRUE(json.ok()) << text;
  return json ? *json : Json();
}

std::string content(const Json& answer, size_t index = 0) {
  return answer["choices"][index]["message"]["content"].get<std::string>();
}

TEST(choices, differ_by_their_seeds_and_count_the_prompt_once) {
  RunningServer server;
  HttpClient client(server.port());
  const auto ask = [&](const std::string& fields) {
    return client
        .post("/v1/chat/completions",
              chat_body(R"("max_tokens":8,"temperature":1,"ignore_eos":true,)" + fields))
        .json();
  };
  const Json three = ask(R"("n":3,"best_of":3,"seed":10)");
  ASSERT_EQ(three["choices"].size(), 3u) << three.dump();
  std::set<std::string> texts;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(three["choices"][i]["index"], i);
    const Json alone = ask(fmt::format(R"("seed":{})", 10 + i));
    EXPECT_EQ(content(three, i), content(alone));
    EXPECT_EQ(three["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"]);
    texts.insert(content(alone));
  }
  EXPECT_EQ(texts.size(), 3u);
  EXPECT_EQ(three["usage"]["completion_tokens"], 24);
  EXPECT_EQ(three["usage"]["total_tokens"].get<int>(),
            three["usage"]["prompt_tokens"].get<int>() + 24);

  const ClientResponse streamed = client.post(
      "/v1/chat/completions",
      chat_body(
          R"("max_tokens":8,"temperature":1,"ignore_eos":true,"n":3,"seed":10,"stream":true)"));
  std::vector<std::string> shown(3);
  std::vector<int> ends(3);
  for (const std::string& event : events_of(streamed.body)) {
    if (event == "[DONE]") continue;
    const Json choice = parse(event)["choices"][0];
    const auto index = choice["index"].get<size_t>();
    ASSERT_LT(index, 3u);
    ends[index] += choice["finish_reason"].is_null() ? 0 : 1;
    const Json& delta = choice["delta"];
    if (delta.contains("content") && delta["content"].is_string()) {
      shown[index] += delta["content"].get<std::string>();
    }
  }
  EXPECT_EQ(ends, (std::vector<int>{1, 1, 1}));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(shown[i], content(three, i));
}

TEST(choices, of_several_prompts_stand_together) {
  RunningServer server;
  HttpClient client(server.port());
  const Json answer = client
                          .post("/v1/completions",
                                R"({"prompt":[[5,6],[7,8,9]],"n":2,"max_tokens":6,"seed":1,
                                    "temperature":1,"ignore_eos":true,"echo":true})")
                          .json();
  ASSERT_EQ(answer["choices"].size(), 4u);
  const Tokenizer& tokenizer = *tiny_engine().model().tokenizer;
  const std::string first = tokenizer.decode(std::vector<uint32_t>{5, 6});
  const std::string second = tokenizer.decode(std::vector<uint32_t>{7, 8, 9});
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_THAT(answer["choices"][i]["text"].get<std::string>(),
                ::testing::StartsWith(i < 2 ? first : second));
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 5);
}

TEST(choices, answers_say_what_made_them_and_how_long_it_took) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string fields = R"("max_tokens":5,"ignore_eos":true)";
  const Json answer = client.post("/v1/chat/completions", chat_body(fields)).json();
  EXPECT_THAT(answer["system_fingerprint"].get<std::string>(), HasSubstr("skvis-"));
  const Json& timings = answer["timings"];
  EXPECT_EQ(timings["cache_n"].get<int>() + timings["prompt_n"].get<int>(),
            answer["usage"]["prompt_tokens"]);
  EXPECT_EQ(timings["predicted_n"], 5);
  for (const char* name :
       {"prompt_ms", "prompt_per_second", "predicted_ms", "predicted_per_second"}) {
    EXPECT_GT(timings[name].get<double>(), 0) << name;
  }
  const ClientResponse streamed =
      client.post("/v1/chat/completions",
                  chat_body(fields + R"(,"stream":true,"stream_options":{"include_usage":true})"));
  const auto events = events_of(streamed.body);
  ASSERT_GE(events.size(), 3u);
  const Json last = parse(events[events.size() - 2]);
  EXPECT_EQ(last["timings"]["predicted_n"], 5);
  EXPECT_EQ(last["system_fingerprint"], answer["system_fingerprint"]);
}

TEST(choices, tokens_are_wanted_and_forbidden) {
  RunningServer server;
  HttpClient client(server.port());
  const auto text = [&](const std::string& fields) {
    const ClientResponse response = client.post(
        "/v1/completions",
        R"({"prompt":[5,6,7],"max_tokens":6,"temperature":0,"ignore_eos":true)" + fields + "}");
    EXPECT_EQ(response.status, 200) << response.body;
    return response.json()["choices"][0]["text"].get<std::string>();
  };
  const Tokenizer& tokenizer = *tiny_engine().model().tokenizer;
  const auto repeated = [&](uint32_t id) {
    return tokenizer.decode(std::vector<uint32_t>(6, id), {.continues = true});
  };
  const auto a = tokenizer.find("a");
  const auto b = tokenizer.find("b");
  ASSERT_TRUE(a && b);
  EXPECT_EQ(text(fmt::format(R"(,"logit_bias":{{"{}":100}})", *a)), repeated(*a));
  EXPECT_EQ(text(fmt::format(R"(,"allowed_token_ids":[{}])", *b)), repeated(*b));
  EXPECT_EQ(text(fmt::format(R"(,"allowed_token_ids":[{},{}],"bad_words":["a"])", *a, *b)),
            repeated(*b));
  // Every token that was said costs 2: they take turns.
  const std::string turns =
      text(fmt::format(R"(,"allowed_token_ids":[{},{}],"frequency_penalty":2)", *a, *b));
  EXPECT_THAT(turns, HasSubstr("a"));
  EXPECT_THAT(turns, HasSubstr("b"));
  const std::string free = text("");
  const std::string stop = dump_json(Json(free.substr(0, 1)));
  EXPECT_EQ(text(R"(,"stop":)" + stop), "");
  EXPECT_EQ(text(R"(,"include_stop_str_in_output":true,"stop":)" + stop), free.substr(0, 1));
  EXPECT_NE(text(R"(,"min_tokens":3,"stop":)" + stop), "");
}

TEST(choices, unknown_tokens_are_refused_by_the_name_of_their_field) {
  RunningServer server;
  HttpClient client(server.port());
  const std::pair<const char*, const char*> cases[] = {
      {"stop_token_ids", R"("stop_token_ids":[1,99999999])"},
      {"allowed_token_ids", R"("allowed_token_ids":[99999999])"},
      {"logit_bias", R"("logit_bias":{"99999999":1})"},
  };
  for (const auto& [param, fields] : cases) {
    const ClientResponse response = client.post("/v1/chat/completions", chat_body(fields));
    EXPECT_EQ(response.status, 400) << param;
    EXPECT_EQ(response.json()["error"]["param"], param);
    EXPECT_THAT(response.json()["error"]["message"].get<std::string>(), HasSubstr("99999999"));
  }
}

}  // namespace
}  // namespace skvis::testing
