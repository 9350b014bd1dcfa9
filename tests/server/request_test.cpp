// SPDX-License-Identifier: Apache-2.0
#include "server/request.hpp"

#include <gtest/gtest.h>

namespace skvis {
namespace {

constexpr const char* kMessages = R"("messages":[{"role":"user","content":"hi"}])";

std::string chat(const std::string& fields) {
  return "{" + std::string(kMessages) + (fields.empty() ? "" : "," + fields) + "}";
}

std::string completion(const std::string& fields) {
  return R"({"prompt":"hi")" + (fields.empty() ? "" : "," + fields) + "}";
}

TEST(request, a_chat_request_is_read_whole) {
  const auto request = parse_chat_request(
      chat(R"("model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":7,
              "temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"seed":-3,"stop":["a","","b"],
              "ignore_eos":true,"user":"somebody","metadata":{"x":1})"));
  ASSERT_TRUE(request.ok()) << request.error().message;
  const AnswerOptions& options = request->options;
  EXPECT_EQ(options.model, "m");
  EXPECT_TRUE(options.stream);
  EXPECT_TRUE(options.include_usage);
  EXPECT_EQ(options.max_tokens, 7u);
  EXPECT_EQ(options.sampling.temperature, 0.5);
  EXPECT_EQ(options.sampling.top_p, 0.9);
  EXPECT_EQ(options.sampling.top_k, 40u);
  EXPECT_EQ(options.sampling.min_p, 0.1);
  EXPECT_EQ(options.sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(options.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(options.ignore_end);
  EXPECT_EQ(request->messages.dump(), R"([{"role":"user","content":"hi"}])");
}

TEST(request, absent_and_null_fields_stay_open) {
  const auto request = parse_chat_request(
      chat(R"("max_tokens":null,"temperature":null,"stop":null,"tools":null,"n":null)"));
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_FALSE(request->options.max_tokens.has_value());
  EXPECT_FALSE(request->options.sampling.temperature.has_value());
  EXPECT_TRUE(request->options.stop.empty());
  EXPECT_TRUE(request->template_variables.is_null());
}

TEST(request, max_completion_tokens_wins) {
  const auto request = parse_chat_request(chat(R"("max_completion_tokens":5,"max_tokens":9)"));
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->options.max_tokens, 5u);
}

TEST(request, top_k_of_minus_one_means_all) {
  const auto request = parse_chat_request(chat(R"("top_k":-1)"));
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->options.sampling.top_k, 0u);
}

struct Refused {
  const char* fields;
  const char* param;
  const char* in_message;
};

class RefusedByBoth : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedByBoth, names_the_field) {
  const Refused& refused = GetParam();
  const auto check = [&](const ApiError& error) {
    EXPECT_EQ(error.status, 400u);
    EXPECT_EQ(error.type, "invalid_request_error");
    EXPECT_EQ(error.param, refused.param);
    EXPECT_NE(error.message.find(refused.in_message), std::string::npos) << error.message;
  };
  const auto chat_request = parse_chat_request(chat(refused.fields));
  ASSERT_FALSE(chat_request.ok()) << refused.fields;
  check(chat_request.error());
  const auto text_request = parse_completion_request(completion(refused.fields));
  ASSERT_FALSE(text_request.ok()) << refused.fields;
  check(text_request.error());
}

INSTANTIATE_TEST_SUITE_P(
    types, RefusedByBoth,
    ::testing::Values(
        Refused{R"("model":5)", "model", "must be a string, found a number"},
        Refused{R"("stream":"yes")", "stream", "must be true or false, found a string"},
        Refused{R"("stream_options":true)", "stream_options", "must be an object"},
        Refused{R"("stream_options":{"include_usage":1})", "stream_options", "include_usage"},
        Refused{R"("max_tokens":"10")", "max_tokens", "a whole number, found a string"},
        Refused{R"("max_tokens":-1)", "max_tokens", "between"},
        Refused{R"("max_tokens":1.5)", "max_tokens", "a whole number"},
        Refused{R"("max_tokens":99999999999999999999)", "max_tokens", "'max_tokens'"},
        Refused{R"("temperature":"hot")", "temperature", "must be a number, found a string"},
        Refused{R"("temperature":-1)", "temperature", "between 0 and 100, found -1"},
        Refused{R"("top_p":1.1)", "top_p", "between 0 and 1, found 1.1"},
        Refused{R"("min_p":[])", "min_p", "must be a number, found an array"},
        Refused{R"("top_k":-2)", "top_k", "between -1"},
        Refused{R"("seed":"x")", "seed", "a whole number"},
        Refused{R"("stop":5)", "stop", "must be a string or an array of strings, found a number"},
        Refused{R"("stop":["a",5])", "stop", "found a number in it"},
        Refused{R"("stop":["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"])",
                "stop", "may hold 16 strings, found 17"},
        Refused{R"("ignore_eos":0)", "ignore_eos", "must be true or false"}));

INSTANTIATE_TEST_SUITE_P(
    ranges, RefusedByBoth,
    ::testing::Values(
        Refused{R"("n":0)", "n", "between 1 and 16, found 0"},
        Refused{R"("n":17)", "n", "between 1 and 16, found 17"},
        Refused{R"("n":"2")", "n", "must be a whole number"},
        Refused{R"("typical_p":2)", "typical_p", "between 0 and 1"},
        Refused{R"("presence_penalty":2.5)", "presence_penalty", "between -2 and 2"},
        Refused{R"("frequency_penalty":"x")", "frequency_penalty", "must be a number"},
        Refused{R"("repetition_penalty":0)", "repetition_penalty", "between 0.01 and 100"},
        Refused{R"("repeat_penalty":-1)", "repeat_penalty", "between 0.01 and 100"},
        Refused{R"("logit_bias":[])", "logit_bias", "must be an object, found an array"},
        Refused{R"("logit_bias":{"x":1})", "logit_bias",
                "must be token ids (\"123\"), found \"x\""},
        Refused{R"("logit_bias":{"-1":1})", "logit_bias", "found \"-1\""},
        Refused{R"("logit_bias":{"":1})", "logit_bias", "found \"\""},
        Refused{R"("logit_bias":{"4294967296":1})", "logit_bias", "found \"4294967296\""},
        Refused{R"("logit_bias":{"5":101})", "logit_bias", "from -100 to 100, found 101"},
        Refused{R"("logit_bias":{"5":null})", "logit_bias", "from -100 to 100, found null"},
        Refused{R"("stop_token_ids":5)", "stop_token_ids", "must be an array of token ids"},
        Refused{R"("stop_token_ids":[-5])", "stop_token_ids", "'stop_token_ids[0]'"},
        Refused{R"("allowed_token_ids":["a"])", "allowed_token_ids", "'allowed_token_ids[0]'"},
        Refused{R"("bad_words":[5])", "bad_words", "found a number in it"},
        Refused{R"("min_tokens":-1)", "min_tokens", "between 0 and"},
        Refused{R"("min_tokens":3,"max_tokens":2)", "min_tokens", "is 3, more than 'max_tokens'"},
        Refused{R"("include_stop_str_in_output":1)", "include_stop_str_in_output",
                "must be true or false"},
        Refused{R"("logprobs":"x")", "logprobs", "must be"},
        Refused{R"("prompt_logprobs":21)", "prompt_logprobs", "between 0 and 20"},
        Refused{R"("prompt_logprobs":1,"stream":true)", "prompt_logprobs",
                "not part of a stream"}));

INSTANTIATE_TEST_SUITE_P(
    wishes, RefusedByBoth,
    ::testing::Values(
        Refused{R"("best_of":2)", "best_of", "is 2 and 'n' is 1"},
        Refused{R"("mirostat":2)", "mirostat", "send 0"},
        Refused{R"("tools":[{}])", "tools", "not supported"},
        Refused{R"("tools":{})", "tools", "must be an array, found an object"},
        Refused{R"("tool_choice":"required")", "tool_choice", "not supported"},
        Refused{R"("suffix":"end")", "suffix", "not supported"},
        Refused{R"("response_format":"text")", "response_format", "must be an object"},
        Refused{R"("response_format":{})", "response_format", "'type' must be 'text'"},
        Refused{R"("response_format":{"type":"xml"})", "response_format", "found 'xml'"},
        Refused{R"("response_format":{"type":"json_schema"})", "response_format",
                "member 'schema'"},
        Refused{R"("response_format":{"type":"json_object","schema":5})", "response_format",
                "must be a JSON schema"},
        Refused{R"("guided_json":"{")", "guided_json", "guided_json"},
        Refused{R"("guided_choice":[1])", "guided_choice", "must be an array of strings"},
        Refused{R"("grammar":{})", "grammar", "must be a string"},
        Refused{R"("structured_outputs":{"xml":"x"})", "structured_outputs", "no member 'xml'"},
        Refused{R"("structured_outputs":{"json":{},"regex":"a"})", "structured_outputs",
                "'structured_outputs' says already"},
        Refused{R"("guided_regex":"a","response_format":{"type":"json_object"})", "guided_regex",
                "'response_format' says already"}));

TEST(request, structured_output_is_asked_for_in_the_ways_of_all_servers) {
  using Kind = WantedGrammar::Kind;
  const auto wanted = [](const std::string& fields) {
    const auto request = parse_chat_request(chat(fields));
    EXPECT_TRUE(request.ok()) << fields << ": " << request.error().message;
    return request ? request->options.grammar : WantedGrammar{};
  };
  EXPECT_EQ(wanted(R"("response_format":{"type":"json_object"})").kind, Kind::json_object);
  EXPECT_EQ(wanted(R"("structured_outputs":{"json_object":true})").kind, Kind::json_object);
  for (const char* fields :
       {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,
           "schema":{"type":"integer"}}})",
        R"("response_format":{"type":"json_object","schema":{"type":"integer"}})",
        R"("json_schema":{"type":"integer"})", R"("json_schema":"{\"type\":\"integer\"}")",
        R"("guided_json":{"type":"integer"})",
        R"("structured_outputs":{"json":{"type":"integer"},"regex":null})"}) {
    const WantedGrammar grammar = wanted(fields);
    EXPECT_EQ(grammar.kind, Kind::json_schema) << fields;
    EXPECT_EQ(grammar.schema, Json({{"type", "integer"}})) << fields;
  }
  for (const char* fields :
       {R"("guided_regex":"[a-c]+")", R"("structured_outputs":{"regex":"[a-c]+"})"}) {
    EXPECT_EQ(wanted(fields).kind, Kind::pattern);
    EXPECT_EQ(wanted(fields).text, "[a-c]+");
  }
  for (const char* fields :
       {R"("grammar":"root ::= \"a\"")", R"("guided_grammar":"root ::= \"a\"")",
        R"("structured_outputs":{"grammar":"root ::= \"a\""})"}) {
    EXPECT_EQ(wanted(fields).kind, Kind::gbnf);
    EXPECT_EQ(wanted(fields).text, "root ::= \"a\"");
  }
  for (const char* fields :
       {R"("guided_choice":["a","b"])", R"("structured_outputs":{"choice":["a","b"]})"}) {
    EXPECT_EQ(wanted(fields).choices, (std::vector<std::string>{"a", "b"}));
  }
  for (const char* fields : {R"("grammar":"","guided_choice":[],"json_schema":"")",
                             R"("response_format":null,"structured_outputs":{})"}) {
    EXPECT_EQ(wanted(fields).kind, Kind::any) << fields;
  }
}

TEST(request, its_place_among_others_is_checked) {
  const auto request =
      parse_chat_request(chat(R"("cache_salt":"s","user":"u","priority":-3,"timeout_s":0.5)"));
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->options.queue.salt, "s");
  EXPECT_EQ(request->options.queue.user, "u");
  EXPECT_EQ(request->options.queue.priority, -3);
  EXPECT_EQ(request->options.queue.timeout, 0.5);
  for (const auto& [fields, field] :
       {std::pair{R"("priority":1e9)", "priority"}, std::pair{R"("timeout_s":0)", "timeout_s"},
        std::pair{R"("cache_salt":5)", "cache_salt"}}) {
    const auto refused = parse_chat_request(chat(fields));
    ASSERT_FALSE(refused.ok()) << fields;
    EXPECT_EQ(refused.error().param, field);
  }
  const auto long_name =
      parse_chat_request(chat(fmt::format(R"("user":"{}")", std::string(300, 'x'))));
  ASSERT_FALSE(long_name.ok());
  EXPECT_EQ(long_name.error().param, "user");
}

TEST(request, wishes_for_nothing_are_accepted) {
  const std::string nothing =
      R"("n":1,"best_of":1,"presence_penalty":0,"frequency_penalty":0.0,"logit_bias":{},"tools":[],
         "tool_choice":"none","response_format":{"type":"text"},"suffix":"","mirostat":0,
         "repetition_penalty":1.0,"stop_token_ids":[],"bad_words":[],"min_tokens":0)";
  const auto chat_request = parse_chat_request(chat(nothing + R"(,"logprobs":false)"));
  ASSERT_TRUE(chat_request.ok()) << chat_request.error().message;
  EXPECT_FALSE(chat_request->options.logprobs.has_value());
  EXPECT_TRUE(chat_request->options.biases.empty());
  EXPECT_TRUE(parse_completion_request(completion(nothing + R"(,"echo":false)")).ok());
}

// What stock clients send and this server has no use for.
TEST(request, fields_that_say_nothing_about_the_answer_are_ignored) {
  const std::string fields =
      R"("user":"u","store":true,"metadata":{"a":"b"},"service_tier":"auto",
         "parallel_tool_calls":true,"reasoning_effort":"low","verbosity":"low",
         "modalities":["text"],"prediction":null,"safety_identifier":"x",
         "prompt_cache_key":"y","unknown":[1],
         "stream":true,"stream_options":{"include_usage":false,"include_obfuscation":true})";
  const auto request = parse_chat_request(chat(fields));
  EXPECT_TRUE(request.ok()) << request.error().message;
}

TEST(request, wishes_for_sampling_are_read) {
  const std::string fields =
      R"("n":3,"best_of":3,"typical_p":0.9,"presence_penalty":1.5,"frequency_penalty":-0.5,
         "repetition_penalty":1.2,"logit_bias":{"5":-100,"17":2.5},"stop_token_ids":[3,4],
         "allowed_token_ids":[1,2],"bad_words":["x"],"min_tokens":6,
         "include_stop_str_in_output":true,"prompt_logprobs":4)";
  const auto check = [](const AnswerOptions& options) {
    EXPECT_EQ(options.choices, 3u);
    EXPECT_EQ(options.sampling.typical_p, 0.9);
    EXPECT_EQ(options.sampling.presence_penalty, 1.5);
    EXPECT_EQ(options.sampling.frequency_penalty, -0.5);
    EXPECT_EQ(options.sampling.repetition_penalty, 1.2);
    using Biases = std::vector<std::pair<uint32_t, float>>;
    EXPECT_EQ(options.biases, (Biases{{5, -100.0f}, {17, 2.5f}}));
    EXPECT_EQ(options.stop_tokens, (std::vector<uint32_t>{3, 4}));
    EXPECT_EQ(options.allowed, (std::vector<uint32_t>{1, 2}));
    EXPECT_EQ(options.bad_words, (std::vector<std::string>{"x"}));
    EXPECT_EQ(options.min_tokens, 6u);
    EXPECT_TRUE(options.show_stop);
    EXPECT_EQ(options.prompt_logprobs, 4u);
  };
  const auto chat_request = parse_chat_request(chat(fields));
  ASSERT_TRUE(chat_request.ok()) << chat_request.error().message;
  check(chat_request->options);
  const auto text_request = parse_completion_request(completion(fields));
  ASSERT_TRUE(text_request.ok()) << text_request.error().message;
  check(text_request->options);
  EXPECT_EQ(
      parse_chat_request(chat(R"("repeat_penalty":1.3)"))->options.sampling.repetition_penalty,
      1.3);
}

TEST(request, logprobs_are_a_flag_in_chat_and_a_number_in_completions) {
  const auto of_chat = [](const std::string& fields) {
    const auto request = parse_chat_request(chat(fields));
    EXPECT_TRUE(request.ok()) << fields;
    return request->options.logprobs;
  };
  EXPECT_EQ(of_chat(R"("logprobs":true)"), 0u);
  EXPECT_EQ(of_chat(R"("logprobs":true,"top_logprobs":20)"), 20u);
  EXPECT_EQ(of_chat(R"("logprobs":false,"top_logprobs":0)"), std::nullopt);
  const auto problem = [](const auto& request) {
    EXPECT_FALSE(request.ok());
    return request.ok() ? std::string() : request.error().param;
  };
  EXPECT_EQ(problem(parse_chat_request(chat(R"("logprobs":1)"))), "logprobs");
  EXPECT_EQ(problem(parse_chat_request(chat(R"("logprobs":true,"top_logprobs":21)"))),
            "top_logprobs");
  EXPECT_EQ(problem(parse_chat_request(chat(R"("top_logprobs":2)"))), "top_logprobs");

  EXPECT_EQ(parse_completion_request(completion(R"("logprobs":0)"))->options.logprobs, 0u);
  EXPECT_EQ(parse_completion_request(completion(R"("logprobs":5)"))->options.logprobs, 5u);
  EXPECT_EQ(problem(parse_completion_request(completion(R"("logprobs":true)"))), "logprobs");
  EXPECT_EQ(problem(parse_completion_request(completion(R"("logprobs":21)"))), "logprobs");
  EXPECT_EQ(problem(parse_completion_request(completion(R"("echo":1)"))), "echo");
  EXPECT_EQ(problem(parse_completion_request(completion(R"("echo":true,"prompt_logprobs":1)"))),
            "prompt_logprobs");
}

TEST(request, no_new_tokens_are_for_completions_only) {
  EXPECT_EQ(
      parse_completion_request(completion(R"("max_tokens":0,"echo":true)"))->options.max_tokens,
      0u);
  EXPECT_EQ(parse_chat_request(chat(R"("max_tokens":0)")).error().param, "max_tokens");
}

TEST(request, prompts_times_answers_are_limited) {
  std::string prompts = "\"a\"";
  for (size_t i = 1; i < kMaxPrompts / 4; ++i) prompts += ",\"a\"";
  const auto ask = [&](int n) {
    return parse_completion_request(fmt::format(R"({{"prompt":[{}],"n":{}}})", prompts, n));
  };
  EXPECT_TRUE(ask(4).ok());
  EXPECT_EQ(ask(5).error().param, "n");
}

TEST(request, bodies_that_are_no_objects_are_refused) {
  const std::string deep(100, '[');
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("5"), std::string("{} x"),
        deep, std::string("{\"prompt\":\"\xff\"}")}) {
    EXPECT_EQ(parse_chat_request(body).error().status, 400u) << body;
    EXPECT_EQ(parse_completion_request(body).error().status, 400u) << body;
    EXPECT_EQ(parse_tokenize_request(body).error().status, 400u) << body;
    EXPECT_EQ(parse_detokenize_request(body).error().status, 400u) << body;
  }
}

std::string message_problem(const std::string& messages, std::string* param = nullptr) {
  const auto request = parse_chat_request(R"({"messages":)" + messages + "}");
  if (request) return {};
  if (param != nullptr) *param = request.error().param;
  return request.error().message;
}

TEST(request, messages_of_every_role_are_read) {
  const auto request = parse_chat_request(R"({"messages":[
      {"role":"system","content":"s"}, {"role":"developer","content":"d"},
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},
      {"role":"tool","content":"t","tool_call_id":"1","unknown":5}]})");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->messages.dump(),
            R"([{"role":"system","content":"s"},{"role":"system","content":"d"},)"
            R"({"role":"user","content":"a\nb"},)"
            R"({"role":"assistant","content":"","tool_calls":[{"id":"1"}]},)"
            R"({"role":"tool","content":"t","tool_call_id":"1"}])");
}

TEST(request, wrong_messages_are_refused_by_name) {
  struct Case {
    const char* messages;
    const char* param;
    const char* in_message;
  };
  const Case cases[] = {
      {"null", "messages", "is missing"},
      {R"("hi")", "messages", "must be an array, found a string"},
      {"[]", "messages", "is empty"},
      {"[5]", "messages[0]", "must be an object, found a number"},
      {R"([{"content":"x"}])", "messages[0].role", "is missing, expected a string"},
      {R"([{"role":5,"content":"x"}])", "messages[0].role", "must be a string, found a number"},
      {R"([{"role":"king","content":"x"}])", "messages[0].role", "found 'king'"},
      {R"([{"role":"user"}])", "messages[0].content", "is missing"},
      {R"([{"role":"assistant","content":null}])", "messages[0].content", "is missing"},
      {R"([{"role":"user","content":5}])", "messages[0].content", "found a number"},
      {R"([{"role":"user","content":["x"]}])", "messages[0].content", "must be an object"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])",
       "messages[0].content[0].type", "found 'image_url'"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text",
       "is missing"},
      {R"([{"role":"user","content":"x"},{"role":"user","content":"x","name":[]}])",
       "messages[1].name", "must be a string, found an array"},
      {R"([{"role":"assistant","content":"x","tool_calls":{}}])", "messages[0].tool_calls",
       "must be an array"},
  };
  for (const Case& expected : cases) {
    std::string param;
    const std::string message = message_problem(expected.messages, &param);
    EXPECT_EQ(param, expected.param) << expected.messages;
    EXPECT_NE(message.find(expected.in_message), std::string::npos) << message;
  }
}

TEST(request, prompts_come_in_four_shapes) {
  const auto prompts = [](const std::string& prompt) {
    auto request = parse_completion_request(R"({"prompt":)" + prompt + "}");
    EXPECT_TRUE(request.ok()) << prompt;
    return request ? std::move(request->prompts) : std::vector<PromptInput>{};
  };
  using Ids = std::vector<uint32_t>;
  EXPECT_EQ(prompts(R"("a")"), (std::vector<PromptInput>{"a"}));
  EXPECT_EQ(prompts(R"(["a","b"])"), (std::vector<PromptInput>{"a", "b"}));
  EXPECT_EQ(prompts("[1,2]"), (std::vector<PromptInput>{Ids{1, 2}}));
  EXPECT_EQ(prompts("[[1,2],[3]]"), (std::vector<PromptInput>{Ids{1, 2}, Ids{3}}));
}

TEST(request, wrong_prompts_are_refused) {
  for (const char* prompt : {"null", "5", "{}", "[1,-2]", "[1,1.5]", "[1,4294967296]", "[1,\"a\"]",
                             "[[1],[\"a\"]]", "[{}]", "[null]"}) {
    const auto request = parse_completion_request(R"({"prompt":)" + std::string(prompt) + "}");
    ASSERT_FALSE(request.ok()) << prompt;
    EXPECT_EQ(request.error().param, "prompt");
  }
  std::string many = "[\"\"";
  for (size_t i = 0; i < kMaxPrompts; ++i) many += ",\"\"";
  EXPECT_FALSE(parse_completion_request(R"({"prompt":)" + many + "]}").ok());
}

TEST(request, tokenize_takes_one_source) {
  const auto content = parse_tokenize_request(R"({"content":"x","add_special":true})");
  ASSERT_TRUE(content.ok());
  EXPECT_EQ(content->text, "x");
  EXPECT_TRUE(content->add_special);
  EXPECT_TRUE(content->parse_special);
  EXPECT_TRUE(parse_tokenize_request(R"({"prompt":""})").ok());
  EXPECT_TRUE(parse_tokenize_request(chat("")).ok());
  EXPECT_FALSE(parse_tokenize_request("{}").ok());
  EXPECT_FALSE(parse_tokenize_request(R"({"content":"x","prompt":"y"})").ok());
  EXPECT_EQ(parse_tokenize_request(R"({"content":[]})").error().param, "content");
  EXPECT_EQ(parse_tokenize_request(R"({"content":"x","with_pieces":1})").error().param,
            "with_pieces");
}

TEST(request, detokenize_takes_ids) {
  const auto request = parse_detokenize_request(R"({"tokens":[0,7]})");
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->tokens, (std::vector<uint32_t>{0, 7}));
  for (const char* body : {"{}", R"({"tokens":"x"})", R"({"tokens":[-1]})", R"({"tokens":[[]]})"}) {
    EXPECT_EQ(parse_detokenize_request(body).error().param, "tokens") << body;
  }
}

}  // namespace
}  // namespace skvis
