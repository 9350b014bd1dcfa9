// SPDX-License-Identifier: Apache-2.0
// Whole chat templates. The expected texts in tests/data/jinja/chats.json are by Jinja2 3.1.4, see
// make_cases.py there. qwen2.5, smollm2 and tiny are the models' own templates; the others are in
// the style of their families.
#include "text/chat_template.hpp"

#include <gtest/gtest.h>

#include <ctime>

#include "base/file.hpp"

namespace skvis {
namespace {

const std::string kData = SKVIS_SOURCE_DIR "/tests/data/jinja/";

std::string read(const std::string& name) {
  auto text = read_file(kData + name);
  EXPECT_TRUE(text.ok()) << name;
  return text.ok() ? *text : std::string();
}

std::time_t moment() {
  std::tm time{};
  time.tm_year = 125;
  time.tm_mon = 2;
  time.tm_mday = 9;
  time.tm_hour = 7;
  time.tm_isdst = -1;
  return std::mktime(&time);
}

ChatTemplate parsed(std::string_view source) {
  auto result = ChatTemplate::parse(source, "<s>", "</s>");
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return *result;
}

TEST(ChatTemplate, every_chat_gives_the_text_of_jinja2) {
  const auto chats = parse_json(read("chats.json"), "chats.json");
  ASSERT_TRUE(chats.ok());
  size_t compared = 0;
  size_t refused = 0;
  for (const Json& family : *chats) {
    auto chat_template = parsed(read(family["template"].get<std::string>()));
    chat_template.set_time(moment());
    EXPECT_FALSE(chat_template.is_default());
    for (const Json& item : family["cases"]) {
      const auto name = item["name"].get<std::string>();
      const auto text = chat_template.render(item["messages"], item["tools"],
                                             item["prompt"].get<bool>(), item["extra"]);
      if (item.contains("error")) {
        ++refused;
        EXPECT_FALSE(text.ok()) << name;
        continue;
      }
      ++compared;
      ASSERT_TRUE(text.ok()) << name << ": " << text.error().message;
      EXPECT_EQ(*text, item["expected"].get<std::string>()) << name;
    }
  }
  EXPECT_GE(compared, 150u);
  EXPECT_GE(refused, 15u);
}

TEST(ChatTemplate, the_model_in_the_tree_has_the_template_tested_here) {
  const auto config = parse_json(*read_file(SKVIS_SOURCE_DIR "/models/tiny/tokenizer_config.json"),
                                 "tokenizer_config.json");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ((*config)["chat_template"].get<std::string>(), read("tiny.jinja"));
}

TEST(ChatTemplate, what_the_template_raises_is_the_whole_message) {
  const auto chat_template = parsed(read("llama2_style.jinja"));
  const Json messages = {{{"role", "assistant"}, {"content", "x"}}};
  const auto text = chat_template.render(messages, nullptr, true);
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().message,
            "Conversation roles must alternate user/assistant/user/assistant/...");
}

TEST(ChatTemplate, a_model_without_one_gets_chatml_and_says_so) {
  const auto chat_template = parsed("");
  EXPECT_TRUE(chat_template.is_default());
  const Json messages = {{{"role", "system"}, {"content", "S"}},
                         {{"role", "user"}, {"content", "U"}}};
  EXPECT_EQ(*chat_template.render(messages, nullptr, true),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplate, extra_variables_reach_the_template_and_win) {
  const auto chat_template = parsed("{{ bos_token }}{{ mood }}{{ tools is none }}");
  EXPECT_EQ(*chat_template.render(Json::array(), Json::array(), false, {{"mood", "glad"}}),
            "<s>gladTrue");
  EXPECT_EQ(*chat_template.render(Json::array(), nullptr, false, {{"bos_token", "B"}}), "BTrue");
}

TEST(ChatTemplate, bad_arguments_are_named) {
  const auto chat_template = parsed("{{ messages[0].role }}");
  const auto message_of = [&](const Json& messages, const Json& tools, const Json& extra) {
    const auto text = chat_template.render(messages, tools, false, extra);
    return text.ok() ? std::string("no error") : text.error().message;
  };
  EXPECT_EQ(message_of("hi", nullptr, nullptr), "messages: expected an array, found a string");
  EXPECT_EQ(message_of({1}, nullptr, nullptr), "messages[0]: expected an object, found a number");
  EXPECT_EQ(message_of(Json::array({Json::object()}), nullptr, nullptr),
            "messages[0]: 'role' is missing or no string");
  EXPECT_EQ(message_of(Json::array(), 5, nullptr), "tools: expected an array, found a number");
  EXPECT_EQ(message_of(Json::array(), nullptr, Json::array()),
            "template variables: expected an object, found an array");
  EXPECT_EQ(message_of(Json::array(), nullptr, nullptr),
            "chat template: line 1: a list has no member '0'");
}

TEST(ChatTemplate, a_bad_template_names_line_expectation_and_find) {
  const auto message_of = [](std::string_view source) {
    const auto result = ChatTemplate::parse(source, "", "");
    return result.ok() ? std::string("no error") : result.error().message;
  };
  EXPECT_EQ(message_of("a\n{% if x %}\nb"),
            "chat template: line 3: expected '{% endif %}', found the end of the template");
  EXPECT_EQ(message_of("\n\n{% for x of y %}"),
            "chat template: line 3: expected 'in', found name 'of'");
  EXPECT_EQ(message_of("{{ a\n| }}"),
            "chat template: line 2: expected the name of a filter, found '}}'");
}

TEST(ChatTemplate, long_chats_are_rendered_whole) {
  const auto chat_template = parsed(read("qwen3_style.jinja"));
  Json messages = Json::array();
  for (int i = 0; i < 400; ++i) {
    messages.push_back({{"role", i % 2 == 0 ? "user" : "assistant"},
                        {"content", std::string(50'000, static_cast<char>('a' + i % 26))}});
  }
  const auto text = chat_template.render(messages, nullptr, true);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_GT(text->size(), 20'000'000u);
}

}  // namespace
}  // namespace skvis
