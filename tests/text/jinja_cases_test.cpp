// SPDX-License-Identifier: Apache-2.0
// The interpreter against Jinja2. The expected texts in tests/data/jinja/cases.json are by Jinja2
// 3.1.4 in the environment that transformers sets up for chat templates (trim_blocks,
// lstrip_blocks, loop controls, the immutable sandbox); tests/data/jinja/make_cases.py wrote them.
#include <gtest/gtest.h>

#include <ctime>

#include "base/file.hpp"
#include "text/jinja/template.hpp"

namespace skvis {
namespace {

Json read_cases() {
  const auto text = read_file(SKVIS_SOURCE_DIR "/tests/data/jinja/cases.json");
  EXPECT_TRUE(text.ok());
  auto json = parse_json(*text, "cases.json");
  EXPECT_TRUE(json.ok());
  return *json;
}

// The moment make_cases.py uses: 2025-03-09 07:05:02 local time.
std::time_t moment() {
  std::tm time{};
  time.tm_year = 125;
  time.tm_mon = 2;
  time.tm_mday = 9;
  time.tm_hour = 7;
  time.tm_min = 5;
  time.tm_sec = 2;
  time.tm_isdst = -1;
  return std::mktime(&time);
}

Result<std::string> render(const std::string& source, const Json& context) {
  auto parsed = jinja::Template::parse(source, "test");
  if (!parsed) return parsed.error();
  return parsed->render(context, jinja::Limits{}, moment());
}

TEST(JinjaCases, every_snippet_gives_the_text_of_jinja2) {
  const Json cases = read_cases();
  size_t texts = 0;
  for (const Json& item : cases["cases"]) {
    if (!item.contains("expected")) continue;
    ++texts;
    const auto source = item["template"].get<std::string>();
    const auto text = render(source, cases["context"]);
    if (!text) {
      ADD_FAILURE() << source << "\n  " << text.error().message;
      continue;
    }
    EXPECT_EQ(*text, item["expected"].get<std::string>()) << source;
  }
  EXPECT_GE(texts, 130u);
}

TEST(JinjaCases, what_jinja2_refuses_is_refused_with_a_line) {
  const Json cases = read_cases();
  size_t errors = 0;
  for (const Json& item : cases["cases"]) {
    if (!item.contains("error")) continue;
    ++errors;
    const auto source = item["template"].get<std::string>();
    const auto text = render(source, cases["context"]);
    ASSERT_FALSE(text.ok()) << source << " gave " << *text;
    if (source.find("raise_exception") != source.npos) continue;
    EXPECT_TRUE(text.error().message.starts_with("test: line 1: ")) << text.error().message;
  }
  EXPECT_GE(errors, 38u);
}

}  // namespace
}  // namespace skvis
