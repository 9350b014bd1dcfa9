// SPDX-License-Identifier: Apache-2.0
// What clients of OpenAI's API get.
#include "base/file.hpp"
#include "engine/generation.hpp"
#include "http/server_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::HasSubstr;

Json parse(const std::string& text) {
  auto json = parse_json(text, "event");
  EXPECT_TRUE(json.ok()) << text;
  return json ? *json : Json();
}

TEST(answers, a_chat_answer_has_the_form_of_openai) {
  RunningServer server;
  HttpClient client(server.port());
  const ClientResponse response = client.post(
      "/v1/chat/completions", chat_body(R"("max_tokens":12,"temperature":0,"model":"tiny")"));
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  const Json answer = response.json();
  EXPECT_THAT(answer["id"].get<std::string>(), ::testing::MatchesRegex("chatcmpl-[0-9A-Za-z]{24}"));
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_GT(answer["created"].get<int64_t>(), 1'600'000'000);
  ASSERT_EQ(answer["choices"].size(), 1u);
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_FALSE(choice["message"]["content"].get<std::string>().empty());
  const Json& usage = answer["usage"];
  EXPECT_EQ(usage["total_tokens"],
            usage["prompt_tokens"].get<int>() + usage["completion_tokens"].get<int>());
  EXPECT_LE(usage["completion_tokens"].get<int>(), 12);
  EXPECT_EQ(usage["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_GT(usage["kv"]["bytes_rows"].get<size_t>(), 0u);
  EXPECT_GE(usage["kv"]["bytes"], usage["kv"]["bytes_rows"]);
  EXPECT_GT(usage["kv"]["bytes_full"].get<size_t>(), 0u);
  EXPECT_TRUE(usage["kv"]["tokens_kept"].is_number_integer());
  EXPECT_EQ(usage["kv"]["tokens_kept"], usage["kv"]["tokens_seen"]);
}

TEST(answers, a_stream_says_the_same_as_the_whole_answer) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string fields = R"("max_tokens":40,"temperature":0.9,"seed":5)";
  const Json whole = client.post("/v1/chat/completions", chat_body(fields)).json();
  const ClientResponse response =
      client.post("/v1/chat/completions",
                  chat_body(fields + R"(,"stream":true,"stream_options":{"include_usage":true})"));
  ASSERT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("content-type"), "text/event-stream");
  std::vector<std::string> events = events_of(response.body);
  ASSERT_GE(events.size(), 5u);
  EXPECT_EQ(events.back(), "[DONE]");
  events.pop_back();

  const Json usage = parse(events.back());
  events.pop_back();
  EXPECT_TRUE(usage["choices"].empty());
  Json figures = usage["usage"];
  EXPECT_EQ(figures["prompt_tokens_details"]["cached_tokens"], 14);  // all but the last, by now
  figures["prompt_tokens_details"]["cached_tokens"] = 0;
  EXPECT_EQ(figures, whole["usage"]);

  const Json first = parse(events.front());
  EXPECT_EQ(first["choices"][0]["delta"].dump(), R"({"role":"assistant","content":null})");
  const Json last = parse(events.back());
  EXPECT_EQ(last["choices"][0]["delta"].dump(), "{}");
  EXPECT_EQ(last["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);

  std::string text;
  for (size_t i = 0; i < events.size(); ++i) {
    const Json event = parse(events[i]);
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    EXPECT_EQ(event["id"], first["id"]);
    EXPECT_FALSE(event.contains("usage"));
    const Json& choice = event["choices"][0];
    EXPECT_EQ(choice["finish_reason"].is_null(), i + 1 < events.size());
    if (i == 0 || i + 1 == events.size()) continue;
    EXPECT_FALSE(choice["delta"].contains("role"));
    text += choice["delta"]["content"].get<std::string>();
  }
  EXPECT_EQ(text, whole["choices"][0]["message"]["content"]);
}

TEST(answers, a_completion_is_the_golden_one) {
  RunningServer server;
  HttpClient client(server.port());
  const auto file = read_file(SKVIS_SOURCE_DIR "/models/tiny/greedy.json");
  ASSERT_TRUE(file.ok());
  const Json golden = parse(*file)[0];
  const std::string body =
      fmt::format(R"({{"prompt":{},"max_tokens":50,"temperature":0,"stream":true}})",
                  dump_json(golden["prompt"]));
  const ClientResponse response = client.post("/v1/completions", body);
  ASSERT_EQ(response.status, 200) << response.body;
  std::string text;
  Json finish;
  for (const std::string& event : events_of(response.body)) {
    if (event == "[DONE]") continue;
    const Json json = parse(event);
    EXPECT_EQ(json["object"], "text_completion");
    EXPECT_TRUE(json["id"].get<std::string>().starts_with("cmpl-"));
    text += json["choices"][0]["text"].get<std::string>();
    finish = json["choices"][0]["finish_reason"];
  }
  EXPECT_EQ(text + "<|im_end|>", golden["text"]);
  EXPECT_EQ(finish, "stop");
}

TEST(answers, several_prompts_give_choices_in_their_order) {
  RunningServer server({.queue = 1});  // fewer places than prompts: an accepted request runs whole
  HttpClient client(server.port());
  const std::string tail = R"(,"max_tokens":6,"temperature":0,"ignore_eos":true})";
  const Json both =
      client.post("/v1/completions", R"({"prompt":[[5,6,7],[100,200],[9]])" + tail).json();
  ASSERT_EQ(both["choices"].size(), 3u) << both.dump();
  const char* prompts[] = {"[5,6,7]", "[100,200]", "[9]"};
  for (size_t i = 0; i < 3; ++i) {
    const Json alone =
        client.post("/v1/completions", R"({"prompt":)" + std::string(prompts[i]) + tail).json();
    EXPECT_EQ(both["choices"][i]["index"], i);
    EXPECT_EQ(both["choices"][i]["text"], alone["choices"][0]["text"]);
  }
  EXPECT_EQ(both["usage"]["prompt_tokens"], 6);
  EXPECT_EQ(both["usage"]["completion_tokens"], 18);
  const ClientResponse stream =
      client.post("/v1/completions", R"({"prompt":["a","b"],"stream":true)" + tail);
  std::vector<size_t> ends;
  for (const std::string& event : events_of(stream.body)) {
    if (event == "[DONE]") continue;
    const Json choice = parse(event)["choices"][0];
    if (!choice["finish_reason"].is_null()) ends.push_back(choice["index"].get<size_t>());
  }
  EXPECT_EQ(ends, (std::vector<size_t>{0, 1}));
}

TEST(answers, stop_texts_end_the_answer_and_stay_out) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string fields = R"("max_tokens":60,"temperature":0,"ignore_eos":true)";
  const Json free = client.post("/v1/chat/completions", chat_body(fields)).json();
  const auto text = free["choices"][0]["message"]["content"].get<std::string>();
  EXPECT_EQ(free["choices"][0]["finish_reason"], "length");
  ASSERT_GT(text.size(), 20u);
  const std::string stop = text.substr(10, 3);
  const Json stopped =
      client
          .post("/v1/chat/completions",
                chat_body(fields + R"(,"stop":)" + dump_json(Json::array({stop, "\x01never"}))))
          .json();
  EXPECT_EQ(stopped["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(stopped["choices"][0]["message"]["content"], text.substr(0, text.find(stop)));
}

TEST(answers, models_are_listed_and_shown) {
  RunningServer server({.model_id = "org/my model"});
  HttpClient client(server.port());
  const Json list = client.get("/v1/models").json();
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "org/my model");
  EXPECT_EQ(client.get("/v1/models/org%2Fmy%20model").json(), list["data"][0]);
  EXPECT_EQ(client.get("/v1/models/org/my%20model").status, 200);
  const ClientResponse other = client.get("/v1/models/gpt-5");
  EXPECT_EQ(other.status, 404);
  EXPECT_EQ(other.json()["error"]["code"], "model_not_found");
  const ClientResponse chat = client.post("/v1/chat/completions", chat_body(R"("model":"tiny")"));
  EXPECT_EQ(chat.status, 404);
  EXPECT_EQ(chat.json()["error"]["code"], "model_not_found");
  EXPECT_EQ(chat.json()["error"]["param"], "model");
}

TEST(answers, tokens_go_there_and_back) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string text = "Größe 😀 <|im_start|>";
  const Json tokens = client.post("/tokenize", dump_json(Json{{"content", text}})).json()["tokens"];
  ASSERT_FALSE(tokens.empty());
  EXPECT_EQ(client.post("/detokenize", dump_json(Json{{"tokens", tokens}})).json()["content"],
            text);
  const Json plain =
      client.post("/tokenize", dump_json(Json{{"content", text}, {"parse_special", false}})).json();
  EXPECT_GT(plain["count"].get<size_t>(), tokens.size());
  const Json pieces =
      client.post("/tokenize", dump_json(Json{{"content", text}, {"with_pieces", true}})).json();
  std::string bytes;
  for (const Json& token : pieces["tokens"]) {
    if (token["piece"].is_string()) {
      bytes += token["piece"].get<std::string>();
    } else {
      for (const Json& byte : token["piece"]) bytes += static_cast<char>(byte.get<int>());
    }
  }
  EXPECT_EQ(bytes, text);
  const Json chat = client.post("/tokenize", chat_body()).json();
  EXPECT_EQ(chat["count"], client.post("/v1/chat/completions", chat_body(R"("max_tokens":1)"))
                               .json()["usage"]["prompt_tokens"]);
  EXPECT_EQ(client.post("/detokenize", R"({"tokens":[99999999]})").status, 400);
}

TEST(answers, a_template_shows_what_the_model_would_read) {
  RunningServer server;
  HttpClient client(server.port());
  const auto text_of = [&](const std::string& fields) {
    return client.post("/apply-template", chat_body(fields)).json()["prompt"].get<std::string>();
  };
  const auto tokens_of = [&](const std::string& body) {
    return client.post("/tokenize", body).json()["tokens"];
  };
  const std::string prompt = text_of("");
  EXPECT_THAT(prompt, HasSubstr("Say something."));
  EXPECT_EQ(tokens_of(dump_json(Json{{"content", prompt}})), tokens_of(chat_body()));
  // What belongs to the chat request may stay in it.
  EXPECT_EQ(text_of(R"("max_tokens":5,"stream":true,"model":"tiny")"), prompt);
  const std::string closed = text_of(R"("add_generation_prompt":false)");
  EXPECT_LT(closed.size(), prompt.size());
  EXPECT_EQ(prompt.substr(0, closed.size()), closed);
  EXPECT_EQ(text_of(R"("chat_template_kwargs":{"add_generation_prompt":false})"), closed);
  for (const char* wrong : {R"("add_generation_prompt":"no")", R"("chat_template_kwargs":[])"}) {
    EXPECT_EQ(client.post("/apply-template", chat_body(wrong)).status, 400) << wrong;
  }
  EXPECT_EQ(client.post("/apply-template", chat_body(R"("model":"other")")).status, 404);
  EXPECT_EQ(client.post("/apply-template", "{}").status, 400);
}

TEST(answers, metrics_add_up_to_the_budget) {
  RunningServer server;
  HttpClient client(server.port());
  client.post("/v1/chat/completions", chat_body(R"("max_tokens":5,"ignore_eos":true)"));
  const auto value = [&](const std::string& text, const std::string& name) {
    const size_t at = text.find("\n" + name + " ");
    EXPECT_NE(at, text.npos) << name;
    return at == text.npos ? -1.0 : std::stod(text.substr(at + name.size() + 2));
  };
  const auto check_sum = [&](const std::string& text) {
    double sum = 0;
    for (const char* state : {"used", "wasted", "reserved", "free"}) {
      sum += value(text, fmt::format("skvis:kv_bytes{{state=\"{}\"}}", state));
    }
    EXPECT_EQ(sum, static_cast<double>(tiny_engine().pool().budget()));
  };
  const ClientResponse idle = client.get("/metrics");
  EXPECT_THAT(idle.headers.at("content-type"), HasSubstr("text/plain; version=0.0.4"));
  check_sum(idle.body);
  // The conversation stays for another turn.
  EXPECT_EQ(value(idle.body, "skvis:num_requests_running"), 0);
  EXPECT_EQ(value(idle.body, "skvis:num_conversations_idle"), 1);
  EXPECT_GT(value(idle.body, "skvis:kv_idle_bytes"), 0);
  EXPECT_EQ(value(idle.body, "skvis:kv_bytes{state=\"reserved\"}"), 0);
  EXPECT_EQ(value(idle.body, "skvis:generation_tokens_total"), 5);
  EXPECT_EQ(value(idle.body, "skvis:requests_total{outcome=\"finished\"}"), 1);
  EXPECT_EQ(value(idle.body, "skvis:time_to_first_token_seconds_count"), 1);
  EXPECT_EQ(value(idle.body, "skvis:e2e_request_latency_seconds_count"), 1);

  HttpClient busy(server.port());
  busy.send_post("/v1/chat/completions", long_body(R"("stream":true)"));
  ASSERT_TRUE(busy.receive_until("content\":\""));
  const std::string running = client.get("/metrics").body;
  check_sum(running);
  EXPECT_EQ(value(running, "skvis:num_requests_running"), 1);
  EXPECT_GT(value(running, "skvis:kv_bytes{state=\"used\"}"), 0);
}

TEST(answers, two_clients_are_answered_at_once_and_as_each_alone) {
  RunningServer server;
  HttpClient first(server.port());
  HttpClient second(server.port());
  const std::string body = chat_body(R"("max_tokens":24,"temperature":0,"ignore_eos":true)");
  const Json alone = first.post("/v1/chat/completions", body).json();
  first.send_post("/v1/chat/completions", long_body(R"("stream":true)"));
  ASSERT_TRUE(first.receive_until("content\":\""));
  // The first one has far to go, and the second does not wait for it.
  const Json beside = second.post("/v1/chat/completions", body).json();
  EXPECT_EQ(server->figures().running, 1u);
  EXPECT_EQ(beside["choices"], alone["choices"]);
  EXPECT_EQ(beside["usage"]["kv"], alone["usage"]["kv"]);
}

TEST(answers, the_next_turn_of_a_conversation_reads_only_what_is_new) {
  RunningServer server;
  HttpClient client(server.port());
  const std::string fields = R"(,"max_tokens":9,"temperature":0,"ignore_eos":true})";
  const Json first = client.post("/v1/completions", R"({"prompt":[5,6,7,8])" + fields).json();
  EXPECT_EQ(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  const Json encoded =
      client
          .post("/tokenize",
                dump_json({{"content", first["choices"][0]["text"]}, {"add_special", false}}))
          .json();
  std::vector<int> prompt = {5, 6, 7, 8};
  for (const Json& token : encoded["tokens"]) prompt.push_back(token.get<int>());
  prompt.push_back(9);
  const Json second =
      client.post("/v1/completions", R"({"prompt":)" + dump_json(prompt) + fields).json();
  EXPECT_GT(second["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
}

TEST(answers, the_page_escapes_what_it_shows) {
  RunningServer server({.model_id = "<script>alert('&')</script>"});
  HttpClient client(server.port());
  const ClientResponse page = client.get("/?from=x");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(page.body.find("<script>alert"), page.body.npos);
  EXPECT_THAT(page.body, HasSubstr("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"));
  EXPECT_THAT(page.body, HasSubstr("KV memory"));
  EXPECT_EQ(page.body.find("src="), page.body.npos);
}

}  // namespace
}  // namespace skvis::testing
