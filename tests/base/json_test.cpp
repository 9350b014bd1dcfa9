// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

namespace skvis {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

Json parsed(std::string_view text) {
  Result<Json> result = parse_json(text, "test");
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *std::move(result) : Json();
}

std::string nested(size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

TEST(JsonTest, every_type_is_named_in_words) {
  const Json value = parsed(R"({"a":null,"b":{},"c":[],"d":"","e":true,"f":-1,"g":1,"h":0.5})");
  EXPECT_EQ(json_type(value["a"]), "null");
  EXPECT_EQ(json_type(value["b"]), "an object");
  EXPECT_EQ(json_type(value["c"]), "an array");
  EXPECT_EQ(json_type(value["d"]), "a string");
  EXPECT_EQ(json_type(value["e"]), "true or false");
  for (const char* key : {"f", "g", "h"}) EXPECT_EQ(json_type(value[key]), "a number") << key;
}

TEST(JsonTest, keys_keep_their_order) {
  EXPECT_EQ(dump_json(parsed(R"({"z":1,"a":2,"m":3})")), R"({"z":1,"a":2,"m":3})");
}

TEST(JsonTest, duplicate_key_keeps_the_last_value) {
  EXPECT_EQ(*json_int(parsed(R"({"n":1,"n":2})"), "n", "test", 0, 9), 2);
}

TEST(JsonTest, invalid_text_is_refused_with_its_origin) {
  for (const char* text : {"", " ", "{", "[1,", "{\"a\" 1}", "[1] 2", "nul", "NaN", "[1,]", "'a'",
                           "{\"a\":1}}", "\"\\ud800\"", "\"\x01\"", "// no\n1"}) {
    const Result<Json> result = parse_json(text, "config.json");
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_THAT(result.error().message, StartsWith("config.json: not valid JSON: ")) << text;
  }
}

TEST(JsonTest, invalid_utf8_is_refused) {
  for (const char* text :
       {"\"\xff\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"", "\xfe\xff"}) {
    EXPECT_FALSE(parse_json(text, "test").ok()) << testing::PrintToString(text);
  }
}

TEST(JsonTest, depth_is_bounded_exactly) {
  EXPECT_TRUE(parse_json(nested(64), "test").ok());
  EXPECT_THAT(parse_json(nested(65), "body").error().message,
              AllOf(StartsWith("body: "), HasSubstr("deeper than 64 levels")));
  EXPECT_TRUE(parse_json(nested(3), "test", 3).ok());
  EXPECT_FALSE(parse_json(R"({"a":{"b":{"c":{}}}})", "test", 3).ok());
}

TEST(JsonTest, megabytes_of_brackets_are_refused_without_recursion) {
  EXPECT_FALSE(parse_json(std::string(8 << 20, '['), "test").ok());
}

TEST(JsonTest, brackets_in_strings_are_no_depth) {
  EXPECT_TRUE(parse_json("[\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"]",
                         "test", 2)
                  .ok());
  EXPECT_TRUE(parse_json("[[1],[2],[3],[4]]", "test", 2).ok());
}

TEST(JsonTest, whole_numbers_are_read_in_every_spelling) {
  const Json value = parsed(R"({"a":42,"b":-7,"c":1e4,"d":1024.0,"e":-0})");
  EXPECT_EQ(*json_int(value, "a", "test", 0, 100), 42);
  EXPECT_EQ(*json_int(value, "b", "test", -7, 0), -7);
  EXPECT_EQ(*json_int(value, "c", "test", 0, 10000), 10000);
  EXPECT_EQ(*json_int(value, "d", "test", 0, 2000), 1024);
  EXPECT_EQ(*json_int(value, "e", "test", 0, 0), 0);
}

TEST(JsonTest, extremes_of_64_bits_do_not_wrap) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const Json value = parsed(R"({"min":-9223372036854775808,"max":9223372036854775807,
      "over":9223372036854775808,"top":18446744073709551615,"huge":1e300,"wide":1e18})");
  EXPECT_EQ(*json_int(value, "min", "test", kMin, kMax), kMin);
  EXPECT_EQ(*json_int(value, "max", "test", kMin, kMax), kMax);
  EXPECT_THAT(json_int(value, "over", "test", kMin, kMax).error().message,
              HasSubstr("found 9223372036854775808"));
  EXPECT_FALSE(json_int(value, "top", "test", kMin, kMax).ok());
  EXPECT_FALSE(json_int(value, "huge", "test", kMin, kMax).ok());
  EXPECT_FALSE(json_int(value, "wide", "test", kMin, kMax).ok());
}

TEST(JsonTest, number_out_of_range_is_refused_with_range_and_value) {
  const Json value = parsed(R"({"n":129,"x":2.5})");
  EXPECT_EQ(json_int(value, "n", "config.json", 1, 128).error().message,
            "config.json: 'n' must be between 1 and 128, found 129");
  EXPECT_EQ(json_number(value, "x", "request", 0, 2).error().message,
            "request: 'x' must be between 0 and 2, found 2.5");
}

TEST(JsonTest, wrong_type_is_refused_with_expected_and_found) {
  const Json value = parsed(R"({"s":"1","n":1.5,"b":1,"o":{}})");
  EXPECT_EQ(json_int(value, "s", "request", 0, 9).error().message,
            "request: 's' must be a whole number, found a string");
  EXPECT_THAT(json_int(value, "n", "request", 0, 9).error().message, HasSubstr("a whole number"));
  EXPECT_EQ(json_number(value, "s", "request", 0, 9).error().message,
            "request: 's' must be a number, found a string");
  EXPECT_EQ(json_bool_or(value, "b", "request", false).error().message,
            "request: 'b' must be true or false, found a number");
  EXPECT_EQ(json_string(value, "o", "request").error().message,
            "request: 'o' must be a string, found an object");
  EXPECT_FALSE(json_string_or(value, "n", "request", "fallback").ok());
  EXPECT_FALSE(json_int_or(value, "s", "request", 0, 9, 5).ok());
  EXPECT_FALSE(json_number_or(value, "o", "request", 0, 9, 5).ok());
}

TEST(JsonTest, absent_and_null_members_are_missing_or_the_fallback) {
  const Json value = parsed(R"({"null":null})");
  for (const char* key : {"absent", "null"}) {
    EXPECT_THAT(json_int(value, key, "plan", 0, 9).error().message,
                AllOf(StartsWith("plan: "), HasSubstr(key), HasSubstr("is missing")));
    EXPECT_FALSE(json_string(value, key, "plan").ok());
    EXPECT_FALSE(json_number(value, key, "plan", 0, 1).ok());
    EXPECT_EQ(*json_int_or(value, key, "plan", 0, 9, 5), 5);
    EXPECT_EQ(*json_number_or(value, key, "plan", 0, 9, 0.25), 0.25);
    EXPECT_EQ(*json_string_or(value, key, "plan", "x"), "x");
    EXPECT_TRUE(*json_bool_or(value, key, "plan", true));
  }
}

TEST(JsonTest, members_of_what_is_no_object_are_missing) {
  for (const char* text : {"[1,2]", "\"text\"", "3", "null"}) {
    EXPECT_FALSE(json_int(parsed(text), "n", "test", 0, 9).ok()) << text;
    EXPECT_EQ(*json_int_or(parsed(text), "n", "test", 0, 9, 4), 4) << text;
  }
}

TEST(JsonTest, dump_replaces_invalid_utf8_and_does_not_throw) {
  Json value;
  value["text"] =
      "a\xff"
      "b";
  EXPECT_EQ(dump_json(value),
            "{\"text\":\"a\xef\xbf\xbd"
            "b\"}");
}

}  // namespace
}  // namespace skvis
