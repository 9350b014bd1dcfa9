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
        Refused{R"("max_tokens":0)", "max_tokens", "between 1 and"},
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
    wishes, RefusedByBoth,
    ::testing::Values(
        Refused{R"("n":2)", "n", "leave it out or send 1"},
        Refused{R"("n":"2")", "n", "must be a number"},
        Refused{R"("best_of":2)", "best_of", "not supported"},
        Refused{R"("presence_penalty":0.5)", "presence_penalty", "send 0"},
        Refused{R"("frequency_penalty":-0.5)", "frequency_penalty", "send 0"},
        Refused{R"("repetition_penalty":1.1)", "repetition_penalty", "send 1"},
        Refused{R"("min_tokens":3)", "min_tokens", "not supported"},
        Refused{R"("logit_bias":{"5":1})", "logit_bias", "not supported"},
        Refused{R"("logit_bias":[])", "logit_bias", "must be an object, found an array"},
        Refused{R"("tools":[{}])", "tools", "not supported"},
        Refused{R"("tools":{})", "tools", "must be an array, found an object"},
        Refused{R"("tool_choice":"required")", "tool_choice", "not supported"},
        Refused{R"("suffix":"end")", "suffix", "not supported"},
        Refused{R"("logprobs":"x")", "logprobs", "must be"},
        Refused{R"("response_format":{"type":"json_object"})", "response_format", "json_object"},
        Refused{R"("response_format":"text")", "response_format", "must be an object"},
        Refused{R"("response_format":{})", "response_format", "response_format.type"},
        Refused{R"("guided_json":{"type":"object"})", "guided_json", "not supported"}));

TEST(request, wishes_for_nothing_are_accepted) {
  const std::string nothing =
      R"("n":1,"presence_penalty":0,"frequency_penalty":0.0,"logit_bias":{},"tools":[],
         "tool_choice":"none","response_format":{"type":"text"},"suffix":"",
         "repetition_penalty":1.0)";
  EXPECT_TRUE(parse_chat_request(chat(nothing + R"(,"logprobs":false)")).ok());
  EXPECT_TRUE(parse_completion_request(completion(nothing + R"(,"logprobs":0,"echo":false)")).ok());
}

TEST(request, logprobs_and_echo_are_refused_where_they_belong) {
  EXPECT_EQ(parse_chat_request(chat(R"("logprobs":true)")).error().param, "logprobs");
  EXPECT_EQ(parse_completion_request(completion(R"("logprobs":1)")).error().param, "logprobs");
  EXPECT_EQ(parse_completion_request(completion(R"("echo":true)")).error().param, "echo");
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
