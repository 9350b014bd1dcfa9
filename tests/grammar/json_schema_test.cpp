// SPDX-License-Identifier: Apache-2.0
#include <random>

#include "grammar_testing.hpp"

namespace skvis {
namespace {

struct Case {
  const char* schema;
  std::vector<const char*> fits;
  std::vector<const char*> differs;  // no text of the grammar; some are beginnings of one
};

void check(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    SCOPED_TRACE(each.schema);
    const Recogniser grammar = schema(each.schema);
    for (const char* text : each.fits) EXPECT_TRUE(grammar.matches(text)) << text;
    for (const char* text : each.differs) EXPECT_FALSE(grammar.matches(text)) << text;
  }
}

TEST(JsonSchema, any_value_and_any_object) {
  check(
      {{"{}",
        {"1", "-0.5e+10", "\"a\\u00e9\\ud83d\\ude00\\n\"", "[1, [], {\"a\": null}]", "{}", "true"},
        {"01", "1.", "\"\n\"", "\"\\ud83d\"", "\"\\x\"", "[1,]", "{\"a\" : 1}", "nul", ""}},
       {"true", {"1", "{}"}, {"x"}},
       {R"({"type":"object"})", {"{}", "{\"a\":1,\"b\":[{}]}", "{\n  \"a\": 1\n}"}, {"[]", "1"}}});
  const Recogniser object(compile_json_object());
  EXPECT_TRUE(object.matches("{\"a\": {\"b\": [1, 2]}}"));
  EXPECT_FALSE(object.begins("["));
}

TEST(JsonSchema, blanks_are_bounded) {
  const Recogniser grammar = schema(R"({"type":"array","items":{"type":"null"}})");
  EXPECT_TRUE(grammar.matches("[null, null]"));
  EXPECT_TRUE(grammar.matches("[\n\t null,\n null\n]"));
  EXPECT_TRUE(grammar.matches("[ ]"));
  EXPECT_FALSE(grammar.begins("[  "));
  EXPECT_FALSE(grammar.begins("[\n\n"));
  EXPECT_FALSE(grammar.begins("[\n" + std::string(17, ' ')));
  EXPECT_FALSE(
      grammar.begins("[null "
                     "]x"));
  EXPECT_FALSE(grammar.begins(" "));
  const Recogniser compact(
      compile_json_schema(Json::parse(R"({"type":"array"})"), {.compact = true}));
  EXPECT_TRUE(compact.matches("[1,{\"a\":2}]"));
  EXPECT_FALSE(compact.begins("[ "));
}

TEST(JsonSchema, objects) {
  check({{R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},
            "c":{"type":"null"}},
              "required":["b"],"additionalProperties":false})",
          {"{\"b\":null}", "{\"a\":null,\"b\":null}", "{\"b\": null, \"c\": null}",
           "{\"a\":null,\"b\":null,\"c\":null}"},
          {"{}", "{\"a\":null}", "{\"a\":null,\"c\":null}", "{\"b\":null,\"a\":null}",
           "{\"b\":null,}", "{,\"b\":null}", "{\"b\":null,\"d\":null}"}},
         {R"({"properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"}}})",
          {"{}", "{\"a\":null}", "{\"b\":null}", "{\"c\":null}", "{\"a\":null,\"c\":null}",
           "{\"a\":null,\"b\":null,\"c\":null}", "{\"b\":null,\"c\":null}"},
          {"{\"c\":null,\"a\":null}", "{\"d\":1}", "[]"}},
         {R"({"type":"object","additionalProperties":{"type":"null"}})",
          {"{}", "{\"x\":null,\"y\":null}"},
          {"{\"x\":1}"}},
         {R"({"type":"object","properties":{"ab":{"type":"null"},"a":{"type":"null"},
            "\"é":{"type":"null"}},
              "additionalProperties":{"type":"boolean"}})",
          {"{\"ab\":null,\"abc\":true}", "{\"x\":true}", "{\"\":true}", "{\"b\":false,\"ax\":true}",
           "{\"a\":null}", "{\"\\\"é\":null,\"é\":true}", "{\"\\n\":true}"},
          {"{\"a\":true}", "{\"x\":true,\"ab\":true}", "{\"\\u0061\":true}", "{\"\\\"é\":true}"}},
         {R"({"type":"object","properties":{"a":{"type":"null"}},"required":["z","a"],
              "additionalProperties":true})",
          {"{\"a\":null,\"z\":[1]}", "{\"a\":null,\"z\":1,\"y\":2}"},
          {"{\"a\":null}", "{\"a\":null,\"y\":2}"}},
         {R"({"type":"object","properties":{"a":false,"b":{"type":"null"}}})",
          {"{}", "{\"b\":null}"},
          {"{\"a\":1}"}}});
}

TEST(JsonSchema, arrays) {
  check({{R"({"type":"array","items":{"type":"null"},"minItems":2,"maxItems":3})",
          {"[null,null]", "[null, null, null]"},
          {"[]", "[null]", "[null,null,null,null]"}},
         {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
         {R"({"type":"array","prefixItems":[{"type":"null"},{"type":"boolean"}],
            "items":{"type":"integer"}})",
          {"[]", "[null]", "[null,true]", "[null,true,1,2]"},
          {"[true]", "[null,1]", "[null,true,null]"}},
         {R"({"type":"array","prefixItems":[{"type":"null"},{"type":"boolean"}],"items":false,
            "minItems":1})",
          {"[null]", "[null,false]"},
          {"[]", "[null,true,1]"}},
         {R"({"type":"array","prefixItems":[{"type":"null"},{"type":"null"}],"minItems":3,
            "maxItems":4,"items":{"type":"integer"}})",
          {"[null,null,1]", "[null,null,1,2]"},
          {"[null,null]", "[null,null,1,2,3]"}},
         {R"({"type":"array","prefixItems":[{"type":"null"},{"type":"null"}],"maxItems":1})",
          {"[]", "[null]"},
          {"[null,null]"}},
         {R"({"items":[{"type":"null"}],"additionalItems":{"type":"integer"}})",
          {"[null,1]"},
          {"[1]"}}});
}

TEST(JsonSchema, strings) {
  check({{R"({"type":"string","minLength":2,"maxLength":3})",
          {"\"ab\"", "\"é€\"", "\"\\ud83d\\ude00a\"", "\"\\n\\\"\\u0041\""},
          {"\"a\"", "\"abcd\"", "\"\\ud83d\\ude00\"", "\"a\\ud83dx\""}},
         {R"({"type":"string","pattern":"^[a-c]+-\\d{2}$"})",
          {"\"ab-12\""},
          {"\"-12\"", "\"a-123\""}},
         {R"({"type":"string",
            "pattern":"a\"\\n"})",
          {"\"xa\\\"\\ny\"", "\"a\\\"\\n\""},
          {"\"a\""}},
         {R"({"type":"string","pattern":"^a|b$"})", {"\"axx\"", "\"xxb\"", "\"a\""}, {"\"xax\""}},
         {R"({"type":"string","format":"date"})",
          {"\"2024-02-28\"", "\"1999-12-31\""},
          {"\"2023-02-29\"", "\"2023-04-31\"", "\"2023-13-01\""}},
         {R"({"type":"string","format":"date-time"})",
          {"\"2024-02-28T23:59:59.5+01:00\"", "\"2024-02-28T00:00:00Z\""},
          {"\"2024-02-28\"", "\"2024-02-28T24:00:00Z\""}},
         {R"({"type":"string","format":"uuid"})",
          {"\"123e4567-e89b-12d3-a456-426614174000\""},
          {"\"123e4567\""}},
         {R"({"type":"string","format":"ipv4"})",
          {"\"192.168.0.255\""},
          {"\"256.1.1.1\"", "\"1.2.3\""}},
         {R"({"type":"string",
            "format":"email"})",
          {"\"a.b@c-d.org\""},
          {"\"a@b\"", "\"@b.c\""}}});
}

TEST(JsonSchema, constants) {
  check({{R"({"enum":["a","ab",1,null,{"k":[1,2]},"b\n"]})",
          {"\"a\"", "\"ab\"", "1", "null", "{\"k\":[1,2]}", "{\"k\": [1, 2]}", "\"b\\n\""},
          {"\"b\"", "2", "{\"k\":[1]}", "{}"}},
         {R"({"const":"x"})", {"\"x\""}, {"\"y\""}},
         {R"({"type":"string","enum":["a",1]})", {"\"a\""}, {"1"}},
         {R"({"type":["integer","null"],"enum":["a",1,null]})", {"1", "null"}, {"\"a\""}},
         {R"({"enum":[1,2],"const":2})", {"2"}, {"1"}},
         {R"({"type":"string","nullable":true})", {"null", "\"a\""}, {"1"}}});
}

TEST(JsonSchema, combinations) {
  check({{R"({"anyOf":[{"type":"null"},{"type":"array","items":{"const":1}}]})",
          {"null", "[1]"},
          {"[2]"}},
         {R"({"oneOf":[{"type":"null"},{"type":"boolean"}]})", {"null", "true"}, {"1"}},
         {R"({"type":["null","boolean"]})", {"null", "false"}, {"1"}},
         {R"({"allOf":[{"type":"object","properties":{"a":{"type":"null"}},"required":["a"]},
                       {"properties":{"b":{"type":"integer","minimum":3}}},
                       {"properties":{"b":{"type":"integer","maximum":4}},"required":["b"]}]})",
          {"{\"a\":null,\"b\":3}", "{\"a\":null,\"b\":4}"},
          {"{\"a\":null}", "{\"a\":null,\"b\":5}", "{\"a\":null,\"b\":2}"}},
         {R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},
              "anyOf":[{"required":["a"]},{"required":["b"]}]})",
          {"{\"a\":null}", "{\"b\":null}", "{\"a\":null,\"b\":null}"},
          {"{}"}},
         {R"({"allOf":[{"type":["number","string"]},{"type":["integer","null"]}]})",
          {"1"},
          {"1.5", "null", "\"a\""}},
         {R"({"allOf":[{"enum":[1,2]},{"enum":[2,3]}]})", {"2"}, {"1", "3"}}});
}

TEST(JsonSchema, references_and_recursion) {
  check({{R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},
            "next":{"$ref":"#/$defs/node"}},
              "required":["v"]}},"$ref":"#/$defs/node"})",
          {"{\"v\":1}", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3}}}"},
          {"{\"next\":{\"v\":1}}", "{\"v\":1,\"next\":{}}"}},
         {R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"}},
         {R"({"definitions":{"a/b~c d":{"const":1}},"$ref":"#/definitions/a~1b~0c%20d"})",
          {"1"},
          {"2"}},
         {R"({"$defs":{"x":{"type":"object","properties":{"a":{"const":1}}}},
              "type":"array","items":{"$ref":"#/$defs/x","required":["a"]}})",
          {"[{\"a\":1}]"},
          {"[{}]"}},
         // Merged schemas that come again inside themselves.
         {R"({"$defs":{"t":{"type":"object","properties":{"sub":{"allOf":[{"$ref":"#/$defs/t"},
            {"required":["sub"]}]},
              "leaf":{"const":1}}}},"$ref":"#/$defs/t"})",
          {"{}", "{\"leaf\":1}"},
          {"{\"sub\":{}}"}}});
}

TEST(JsonSchema, integers_between_bounds_are_exactly_those) {
  const std::vector<std::pair<int, int>> bounds = {{0, 9},       {-7, 13}, {5, 5},    {98, 1205},
                                                   {-1234, -89}, {10, 99}, {-10, 10}, {100, 100},
                                                   {-5, 0},      {0, 1000}};
  for (const auto& [low, high] : bounds) {
    const Json text = {{"type", "integer"}, {"minimum", low}, {"maximum", high}};
    const Recogniser grammar(compile_json_schema(text));
    for (int value = -2000; value <= 2000; ++value) {
      ASSERT_EQ(grammar.matches(std::to_string(value)), value >= low && value <= high)
          << low << " <= " << value << " <= " << high;
    }
    EXPECT_FALSE(grammar.matches("-0"));
    EXPECT_FALSE(grammar.matches("007"));
  }
  check({{R"({"type":"integer","minimum":9223372036854775800})",
          {"9223372036854775800", "18446744073709551615"},
          {"9223372036854775799", "18446744073709551616"}},
         {R"({"type":"integer","exclusiveMinimum":5,"exclusiveMaximum":7.5})",
          {"6", "7"},
          {"5", "8"}},
         {R"({"type":"integer","minimum":-0.5,"maximum":1.9})", {"0", "1"}, {"-1", "2"}},
         {R"({"type":"integer","maximum":-1e300,"minimum":-1e301,"nullable":true})",
          {"null"},
          {"-1"}},
         {R"({"type":"integer"})",
          {"0", "-12", "9999999999999999"},
          {"1.0", "1e3", "-0", "12345678901234567"}}});
}

TEST(JsonSchema, numbers_between_bounds) {
  check({{R"({"type":"number","minimum":0,"maximum":1})",
          {"0", "1", "0.5", "1.000", "0.0"},
          {"1.001", "-0", "-0.1", "2", "1e0"}},
         {R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1})",
          {"0.5", "0.001", "0.9999"},
          {"0", "0.0", "1", "1.0"}},
         {R"({"type":"number","minimum":-1.25,"maximum":-0.5})",
          {"-1.25", "-1.2", "-0.5", "-0.50", "-1", "-0.75"},
          {"-1.26", "-0.4", "-0", "0", "-1.3", "-0.49"}},
         {R"({"type":"number","minimum":0.125,"maximum":0.13})",
          {"0.125", "0.1299", "0.13", "0.1250"},
          {"0.12", "0.1249", "0.131", "0", "0.1301"}},
         {R"({"type":"number","minimum":2.5})",
          {"2.5", "3", "999999999999999", "12.25"},
          {"2.4", "2", "-3"}},
         {R"({"type":"number","exclusiveMaximum":0})", {"-0.1", "-5"}, {"0", "-0", "-0.0", "1"}},
         {R"({"type":"number","minimum":3,"maximum":3})", {"3", "3.0"}, {"3.1", "2.9"}}});
  // Every thousandth between two bounds, and around them.
  const Recogniser grammar = schema(R"({"type":"number","exclusiveMinimum":-1.05,
            "maximum":10.2})");
  for (int value = -2000; value <= 11000; ++value) {
    if (value <= 0 && value > -1000 && value % 1000 == 0) continue;  // zero has no sign
    const std::string text = fmt::format("{}{}.{:03}", value < 0 ? "-" : "", std::abs(value) / 1000,
                                         std::abs(value) % 1000);
    ASSERT_EQ(grammar.matches(text), value > -1050 && value <= 10200) << text;
  }
}

// Tokens across all borders of JSON text: masks must equal trial, and walks must end in the
// grammar.
TEST(JsonSchema, masks_equal_trial_along_random_walks) {
  const auto vocabulary = vocabulary_of(
      {"",    "{",    "}",     "[",    "]",        "\"",       ":",     ",",     " ",    "\n",
       "{\"", "\":",  "\": ",  "\",",  "\", \"",   "\"}",      "\"]",   "\":\"", "\":[", "}]",
       "]}",  "}}",   "a",     "b",    "ab",       "abc",      "a\"",   "b\":",  "\\",   "\\u",
       "\\n", "00e9", "\xc3",  "\xa9", "\xc3\xa9", "\xe2\x82", "0",     "1",     "12",   "123",
       "-",   "-1",   "1,",    "2]",   "0.5",      ".",        ".5",    "e",     "e1",   "true",
       "tru", "e,",   "false", "null", "nu",       "ll",       "null}", "[]",    "{}",   "[[",
       "  ",  "\n  ", ",\n ",  "a, b", "-0",       "00",       "x"},
      {0});
  std::mt19937 random(1);
  for (
      const char* text :
      {R"({"type":"object"})",
       R"({"type":"object","properties":{"a":{"type":"string","maxLength":3},"ab":{"type":"integer",
            "minimum":-12,"maximum":123},"b":{"type":["null","boolean"]}},"required":["ab"],
            "additionalProperties":{"type":"number","minimum":0,"exclusiveMaximum":1.25}})",
       R"({"type":"array","minItems":1,"maxItems":4,"items":{"anyOf":[{"$ref":"#"},
            {"enum":["a","ab",1,null]},{"type":"string","pattern":"^(ab)+|b$"}]}})",
       R"({"type":"object","properties":{"b":{"type":"object","additionalProperties":{"$ref":"#"}},
            "a":{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"null"}}}})"}) {
    SCOPED_TRACE(text);
    const auto automaton = std::make_shared<TokenAutomaton>(*compile_schema_text(text), vocabulary);
    for (int walk = 0; walk < 40; ++walk) {
      GrammarMatcher matcher(automaton);
      TokenMask mask(vocabulary->size());
      for (int step = 0; step < 25; ++step) {
        ASSERT_TRUE(matcher.fill_mask(mask).ok());
        ASSERT_EQ(mask, mask_by_trial(matcher));
        std::vector<uint32_t> allowed;
        for (uint32_t token = 1; token < mask.size(); ++token) {
          if (mask.allows(token)) allowed.push_back(token);
        }
        if (allowed.empty()) break;
        ASSERT_TRUE(matcher.accept(allowed[random() % allowed.size()]).ok());
      }
      const auto end = matcher.shortest_end(1000);
      ASSERT_TRUE(end.ok());
      ASSERT_TRUE(matcher.accept_bytes(*end).ok());
      ASSERT_TRUE(matcher.can_end());
    }
  }
}

TEST(JsonSchema, refusals_name_the_keyword_and_its_place) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type":"object",
            "properties":{"a":{"multipleOf":2}}})",
       "#/properties/a/multipleOf: the keyword 'multipleOf' is not supported"},
      {R"({"typ":"object"})", "#/typ: unknown keyword 'typ'"},
      {R"({"type":"objekt"})", "#/type: \"objekt\" is no type"},
      {R"({"type":[]})", "#/type: the list is empty"},
      {R"({"items":3})", "#/items: a schema must be an object or a boolean, found a number"},
      {R"({"$ref":"#/$defs/nix"})", "'#/$defs/nix' leads nowhere: there is no '$defs'"},
      {R"({"$ref":"http://x/y"})", "references lead into this document"},
      {R"({"$ref":"#/a","a":{"$ref":"#/a"}})", "unknown keyword 'a'"},
      {R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}})", "no text can match"},
      {R"({"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}},
            "$ref":"#/$defs/a"})",
       "without end"},
      {R"({"type":"string","maxLength":1000000000})", "#/maxLength: at most"},
      {R"({"type":"array","maxItems":1e9})", "#/maxItems: at most"},
      {R"({"type":"string","minLength":-1})", "#/minLength: expected a whole number"},
      {R"({"type":"string","minLength":3,"maxLength":2})", "no text can match"},
      {R"j({"type":"string","pattern":"(?=a)"})j", "#/pattern: pattern, byte 0"},
      {R"({"type":"string","pattern":"a","minLength":3})", "only one of 'pattern'"},
      {R"({"type":"string",
            "format":"phone"})",
       "#/format: the format 'phone' is not supported; supported are date"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"enum":[1],"minimum":0})", "#/minimum: 'minimum' beside 'enum'"},
      {R"({"enum":[]})", "no text can match"},
      {"false", "no text can match"},
      {R"({"type":"object","required":["a"],"additionalProperties":false})", "no text can match"},
      {R"({"anyOf":[]})", "#/anyOf: expected an array of schemas"},
      {R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})", "'pattern' differs"},
      {R"({"allOf":[{"additionalProperties":false,"properties":{"a":{}}},
            {"properties":{"b":{}}}]})",
       "'additionalProperties' differs"},
      {R"({"type":"number","minimum":1e20})", "between -1e14 and 1e14"},
      {R"({"type":"number","minimum":0.1234567890123456})", "15 digits"},
      {R"({"required":[1]})", "#/required: expected names"},
      {R"({"properties":{"a":{"type":"object",
            "properties":[]}}})",
       "#/properties/a/properties: expected an object"},
      {R"([])", "a schema must be an object"},
  };
  for (const auto& [text, expected] : cases) {
    const std::string message = refusal(compile_schema_text(text));
    EXPECT_NE(message.find(expected), std::string::npos) << text << "\n" << message;
  }
}

TEST(JsonSchema, hostile_schemas_are_refused_quickly) {
  Json deep = true;
  for (int i = 0; i < 500; ++i) deep = Json{{"items", deep}};
  EXPECT_NE(refusal(compile_json_schema(deep)).find("nested deeper"), std::string::npos);
  // Each level refers twice to the next: 2^25 merges.
  Json fan = {{"$ref", "#/$defs/d0"}, {"$defs", Json::object()}};
  for (int i = 0; i < 25; ++i) {
    const Json next = {{"$ref", "#/$defs/d" + std::to_string(i + 1)}};
    fan["$defs"]["d" + std::to_string(i)] = Json{{"allOf", Json::array({next, next, true})}};
  }
  fan["$defs"]["d25"] = Json{{"type", "null"}};
  EXPECT_NE(refusal(compile_json_schema(fan)).find("must hold together"), std::string::npos);
  // Bounds within bounds cost their sum.
  Json nested = {{"type", "null"}};
  for (int i = 0; i < 10; ++i) {
    nested = Json{{"type", "array"}, {"items", nested}, {"minItems", 10000}, {"maxItems", 10000}};
  }
  EXPECT_TRUE(compile_json_schema(nested).ok());
  Json wide = {{"type", "object"}, {"properties", Json::object()}};
  for (int i = 0; i < 2000; ++i) {
    wide["properties"]["name" + std::to_string(i)] = Json{{"type", "integer"}};
  }
  EXPECT_TRUE(Recogniser(compile_json_schema(wide)).matches("{\"name7\":1,\"name1999\":2}"));
}

}  // namespace
}  // namespace skvis
