// SPDX-License-Identifier: Apache-2.0
// Log-probabilities, echo and several answers, as clients get them.
#include <cmath>
#include <map>

#include "http/server_testing.hpp"
#include "text/utf8.hpp"

namespace skvis::testing {
namespace {

Json parse(const std::string& text) {
  auto json = parse_json(text, "event");
  EXPECT_TRUE(json.ok()) << text;
  return json ? *json : Json();
}

TEST(logprobs, of_a_chat_answer_are_its_text_token_by_token) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string fields =
      R"("max_tokens":20,"temperature":1.3,"seed":3,"ignore_eos":true,"logprobs":true,
         "top_logprobs":3)";
  const Json answer = client.post("/v1/chat/completions", chat_body(fields)).json();
  const Json& choice = answer["choices"][0];
  const Json& content = choice["logprobs"]["content"];
  ASSERT_EQ(content.size(), 20u) << answer.dump();
  EXPECT_TRUE(choice["logprobs"]["refusal"].is_null());
  std::string bytes;
  for (const Json& token : content) {
    if (!token["bytes"].is_null()) {
      for (const Json& byte : token["bytes"]) bytes += static_cast<char>(byte.get<int>());
    }
    ASSERT_EQ(token["top_logprobs"].size(), 3u);
    const double best = token["top_logprobs"][0]["logprob"];
    EXPECT_GE(best, token["top_logprobs"][1]["logprob"].get<double>());
    EXPECT_GE(best, token["logprob"].get<double>());
    EXPECT_LT(token["logprob"].get<double>(), 0);
  }
  // The tiny model speaks in bytes that are not always characters; those become U+FFFD in the text.
  std::string text;
  Utf8Stream stream;
  stream.push(bytes, text);
  stream.flush(text);
  EXPECT_EQ(text, choice["message"]["content"]);

  const ClientResponse streamed =
      client.post("/v1/chat/completions", chat_body(fields + R"(,"stream":true)"));
  Json pieces = Json::array();
  std::string shown;
  for (const std::string& event : events_of(streamed.body)) {
    if (event == "[DONE]") continue;
    const Json chunk = parse(event)["choices"][0];
    if (chunk["delta"].contains("content") && chunk["delta"]["content"].is_string()) {
      shown += chunk["delta"]["content"].get<std::string>();
    }
    if (chunk["logprobs"].is_null()) continue;
    for (const Json& token : chunk["logprobs"]["content"]) pieces.push_back(token);
  }
  EXPECT_EQ(pieces, content);
  EXPECT_EQ(shown, choice["message"]["content"]);
}

TEST(logprobs, are_absent_unless_asked_for) {
  RunningServer server;
  HttpClient client(server.port());
  const Json answer =
      client.post("/v1/chat/completions", chat_body(R"("max_tokens":2,"ignore_eos":true)")).json();
  EXPECT_TRUE(answer["choices"][0]["logprobs"].is_null());
  const Json none = client
                        .post("/v1/chat/completions",
                              chat_body(R"("max_tokens":2,"ignore_eos":true,"logprobs":true)"))
                        .json();
  EXPECT_EQ(none["choices"][0]["logprobs"]["content"][0]["top_logprobs"], Json::array());
}

// The payload of lm-evaluation-harness, model "local-completions".
TEST(logprobs, of_echoed_prompts_are_what_evaluation_harnesses_ask_for) {
  RunningServer server;
  HttpClient client(server.port());
  const Json answer = client
                          .post("/v1/completions",
                                R"({"prompt":[[5,6,7,8,9],[100,200,300]],"max_tokens":1,
                                    "logprobs":1,"echo":true,"temperature":0,"seed":1234})")
                          .json();
  ASSERT_EQ(answer["choices"].size(), 2u) << answer.dump();
  const std::vector<std::vector<uint32_t>> prompts = {{5, 6, 7, 8, 9}, {100, 200, 300}};
  const Tokenizer& tokenizer = *tiny_engine().model().tokenizer;
  for (size_t i = 0; i < 2; ++i) {
    const std::vector<uint32_t>& prompt = prompts[i];
    const Json& logprobs = answer["choices"][i]["logprobs"];
    ASSERT_EQ(logprobs["tokens"].size(), prompt.size() + 1);
    ASSERT_EQ(logprobs["token_logprobs"].size(), prompt.size() + 1);
    ASSERT_EQ(logprobs["top_logprobs"].size(), prompt.size() + 1);
    ASSERT_EQ(logprobs["text_offset"].size(), prompt.size() + 1);
    EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
    EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
    EXPECT_THAT(answer["choices"][i]["text"].get<std::string>(),
                ::testing::StartsWith(tokenizer.decode(prompt)));
    EXPECT_EQ(logprobs["text_offset"][0], 0);
    for (size_t t = 1; t < prompt.size() + 1; ++t) {
      const double own = logprobs["token_logprobs"][t];
      double best = -1e9;
      for (const auto& [name, value] : logprobs["top_logprobs"][t].items()) {
        best = std::max(best, value.get<double>());
      }
      EXPECT_LE(own, best);
      EXPECT_LE(own, 0);
    }
    // The last one was generated greedily: it is the best.
    EXPECT_EQ(logprobs["top_logprobs"][prompt.size()].size(), 1u);
    EXPECT_EQ(answer["choices"][i]["finish_reason"], "length");
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 8);
}

// Harnesses drop the last entry as the generated one, so there must be one when an end token comes
// first, too.
TEST(logprobs, of_completions_list_the_token_that_ended_them) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string body =
      R"({"prompt":[5,6,7],"max_tokens":1,"logprobs":1,"echo":true,"temperature":0)";
  const Json free = client.post("/v1/completions", body + "}").json();
  ASSERT_EQ(free["choices"][0]["logprobs"]["tokens"].size(), 4u);
  const Json first =
      client
          .post("/v1/completions", R"({"prompt":[5,6,7],"max_tokens":1,"temperature":0,
                                         "logit_bias":{"100":100},"logprobs":0})")
          .json();
  ASSERT_EQ(first["choices"][0]["logprobs"]["tokens"].size(), 1u);
  const Json ended =
      client.post("/v1/completions", body + R"(,"logit_bias":{"100":100},"stop_token_ids":[100]})")
          .json();
  const Json& choice = ended["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  ASSERT_EQ(choice["logprobs"]["tokens"].size(), 4u) << ended.dump();
  EXPECT_EQ(choice["logprobs"]["tokens"][3], first["choices"][0]["logprobs"]["tokens"][0]);
  EXPECT_EQ(ended["usage"]["completion_tokens"], 0);
  // Raw: the bias that chose the token does not show.
  EXPECT_LT(choice["logprobs"]["token_logprobs"][3].get<double>(), -1e-3);
}

TEST(logprobs, of_parts_of_characters_are_exact_in_bytes) {
  RunningServer server;
  HttpClient client(server.port());
  const Json answer =
      client.post("/v1/completions", R"({"prompt":"é😀é","max_tokens":0,"logprobs":0,"echo":true})")
          .json();
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["text"], "é😀é") << answer.dump();
  EXPECT_EQ(choice["finish_reason"], "length");
  std::string bytes;
  bool in_parts = false;
  for (const Json& token : choice["logprobs"]["tokens"]) {
    const auto text = token.get<std::string>();
    if (!text.starts_with("bytes:")) {
      bytes += text;
      continue;
    }
    in_parts = true;
    for (size_t i = 8; i < text.size(); i += 4) {
      bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
    }
  }
  EXPECT_TRUE(in_parts);
  EXPECT_EQ(bytes, "é😀é");
  // Offsets count characters, not bytes.
  const Json& offsets = choice["logprobs"]["text_offset"];
  EXPECT_EQ(offsets[0], 0);
  EXPECT_LE(offsets.back().get<int>(), 2);
  EXPECT_GE(offsets.back().get<int>(), 1);
}

TEST(logprobs, of_a_streamed_echo_equal_those_of_the_whole_answer) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string body =
      R"({"prompt":"Once upon a time","max_tokens":12,"logprobs":2,"echo":true,"temperature":0,
          "ignore_eos":true)";
  const Json whole = client.post("/v1/completions", body + "}").json()["choices"][0];
  EXPECT_THAT(whole["text"].get<std::string>(), ::testing::StartsWith("Once upon a time"));
  const ClientResponse streamed = client.post("/v1/completions", body + R"(,"stream":true})");
  std::map<std::string, Json> lists;
  std::string text;
  for (const std::string& event : events_of(streamed.body)) {
    if (event == "[DONE]") continue;
    const Json choice = parse(event)["choices"][0];
    text += choice["text"].get<std::string>();
    if (choice["logprobs"].is_null()) continue;
    for (const auto& [name, list] : choice["logprobs"].items()) {
      for (const Json& entry : list) lists[name].push_back(entry);
    }
  }
  EXPECT_EQ(text, whole["text"]);
  for (const auto& [name, list] : whole["logprobs"].items()) EXPECT_EQ(lists[name], list) << name;
}

TEST(logprobs, of_a_prompt_alone_are_vllms) {
  RunningServer server;
  HttpClient client(server.port());
  const Json answer =
      client
          .post("/v1/completions",
                R"({"prompt":[5,6,7],"max_tokens":1,"prompt_logprobs":2,"temperature":0,"n":2})")
          .json();
  const Json& rows = answer["choices"][0]["prompt_logprobs"];
  ASSERT_EQ(rows.size(), 3u) << answer.dump();
  EXPECT_TRUE(rows[0].is_null());
  const Json& own = rows[1]["6"];
  EXPECT_LT(own["logprob"].get<double>(), 0);
  EXPECT_GE(own["rank"].get<int>(), 1);
  EXPECT_TRUE(own["decoded_token"].is_string());
  EXPECT_GE(rows[1].size(), 2u);
  EXPECT_FALSE(answer["choices"][1].contains("prompt_logprobs"));
  const Json chat =
      client.post("/v1/chat/completions", chat_body(R"("max_tokens":1,"prompt_logprobs":0)"))
          .json();
  EXPECT_EQ(chat["prompt_logprobs"].size(), chat["usage"]["prompt_tokens"].get<size_t>());
}

TEST(logprobs, of_more_tokens_than_memory_allows_are_refused) {
  RunningServer server;
  HttpClient client(server.port());
  std::string prompts = "[1]";
  for (int i = 1; i < 64; ++i) prompts += ",[1]";
  const ClientResponse response =
      client.post("/v1/completions",
                  R"({"prompt":[)" + prompts + R"(],"max_tokens":2000,"n":16,"logprobs":20})");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.json()["error"]["param"], "logprobs");
}

}  // namespace
}  // namespace skvis::testing
