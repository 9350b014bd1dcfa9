// SPDX-License-Identifier: Apache-2.0
// Templates are untrusted: whatever they ask for ends soon, in little memory, with an error.
#include <gtest/gtest.h>

#include "text/jinja/parser.hpp"
#include "text/jinja/template.hpp"

namespace skvis {
namespace {

std::string repeated(std::string_view part, size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i) text += part;
  return text;
}

std::string message_of(const std::string& source, const jinja::Limits& limits = {}) {
  const auto parsed = jinja::Template::parse(source, "test");
  if (!parsed) return parsed.error().message;
  const auto text = parsed->render(Json::object(), limits, 0);
  return text ? "no error: " + text->substr(0, 100) : text.error().message;
}

void expect_error(const std::string& source, std::string_view part) {
  const std::string message = message_of(source);
  EXPECT_NE(message.find(part), std::string::npos) << source.substr(0, 200) << "\n" << message;
  EXPECT_FALSE(message.starts_with("no error")) << source.substr(0, 200);
}

TEST(JinjaLimits, endless_work_stops) {
  expect_error("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
               "line 1: the template needs more than");
  expect_error("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "nested deeper than");
  expect_error(
      "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}"
      "{% endfor %}",
      "more than");
  expect_error(
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}"
      "{% endfor %}",
      "more than");
}

TEST(JinjaLimits, large_results_are_refused) {
  expect_error("{{ 'x' * 999999999999 }}", "too large");
  expect_error("{{ [0] * 99999999 }}", "too large");
  expect_error("{{ 'x' * 30000000 * 30000000 }}", "too large");
  expect_error("{{ range(100001) }}", "more than 100000 items");
  expect_error("{{ range(0, 9223372036854775807, 3) }}", "more than 100000 items");
  expect_error("{{ 'a'.center(99999999) }}", "above 10000");
  expect_error("{{ '%9999999d' % 1 }}", "not valid");
  expect_error("{{ [1] | tojson(indent=1000000) }}", "above 100");
  expect_error("{{ 'a' | indent(1000000) }}", "above 1000");
  expect_error("{{ strftime_now('%1000000d') }}", "does not fit");
  expect_error("{{ [1] | batch(100000000, 1) }}", "must be between");
}

TEST(JinjaLimits, output_is_bounded) {
  jinja::Limits limits;
  limits.max_output = 1000;
  limits.max_steps = 1'000'000;
  const std::string message =
      message_of("{% for i in range(50000) %}0123456789{% endfor %}", limits);
  EXPECT_NE(message.find("the text is longer than"), std::string::npos) << message;
}

TEST(JinjaLimits, deep_sources_are_refused) {
  expect_error("{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}", "too deeply");
  expect_error("{{ " + repeated("[", 5000) + repeated("]", 5000) + " }}", "too deeply");
  expect_error("{{ " + repeated("not ", 5000) + "1 }}", "too deeply");
  expect_error("{{ " + repeated("-", 5000) + "1 }}", "too deeply");
  expect_error("{{ " + repeated("1 if 1 else ", 5000) + "1 }}", "too deeply");
  expect_error("{{ 1" + repeated(" + 1", 5000) + " }}", "levels");
  expect_error("{{ a" + repeated(".b", 5000) + " }}", "levels");
  expect_error("{{ a" + repeated("|e", 5000) + " }}", "levels");
  expect_error("{{ a" + repeated("()", 5000) + " }}", "levels");
  expect_error(repeated("{% if 1 %}", 5000) + repeated("{% endif %}", 5000), "too deeply");
  expect_error("{{ f(" + repeated("1,", 100) + ") }}", "more than 64 arguments");
  expect_error(std::string((size_t{1} << 19) + 1, 'x'), "bytes");
}

TEST(JinjaLimits, long_flat_sources_are_fine) {
  EXPECT_EQ(message_of("{{ 1" + repeated(" ~ 1", 50) + " }}"), "no error: " + repeated("1", 51));
  EXPECT_EQ(message_of("{% if 0 %}" + repeated("{% elif 0 %}", 2000) + "{% else %}x{% endif %}"),
            "no error: x");
  EXPECT_EQ(message_of("{{ [" + repeated("1,", 20000) + "] | length }}"), "no error: 20000");
}

TEST(JinjaLimits, deep_values_are_refused) {
  expect_error(
      "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}"
      "{% endfor %}",
      "nested deeper than 100 levels");
  expect_error(
      "{% set ns = namespace(l={}) %}{% for i in range(999) %}{% set ns.l = {1: ns.l} %}"
      "{% endfor %}",
      "nested deeper than 100 levels");
  // Loops kept in a namespace hold the items they run over.
  expect_error(
      "{% set ns = namespace(l=0) %}{% for i in range(9999) %}{% for x in [ns.l] %}"
      "{% set ns.l = loop %}{% endfor %}{% endfor %}",
      "nested deeper than 100 levels");
  Json deep = 1;
  for (int i = 0; i < 500; ++i) deep = Json::array({deep});
  const auto text = jinja::Template::parse("x", "test")->render({{"deep", deep}}, {}, 0);
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().message, "test: JSON values are nested deeper than 100 levels");
}

// Thirty lists that share their parts look like 2^30 items.
TEST(JinjaLimits, shared_parts_cost_what_they_look_like) {
  const std::string grow =
      "{% set ns = namespace(l=[1]) %}{% for i in range(30) %}"
      "{% set ns.l = [ns.l, ns.l] %}{% endfor %}";
  expect_error(grow + "{{ ns.l }}", "more than");
  expect_error(grow + "{{ ns.l | tojson }}", "more than");
  expect_error(grow + "{% set a = ns.l %}{% set b = [ns.l[0], ns.l[1]] %}{{ a == b }}",
               "more than");
  expect_error(grow + "{{ ns.l in [ns.l] }}", "more than");
}

TEST(JinjaLimits, a_namespace_may_hold_itself) {
  EXPECT_EQ(message_of("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a[0].a | length }}"
                       "{{ ns.a }}"),
            "no error: 1[<namespace>]");
}

TEST(JinjaLimits, things_kept_beyond_their_scope_stay_usable) {
  EXPECT_EQ(message_of("{% set ns = namespace() %}{% for x in [1, 2] %}{% set ns.l = loop %}"
                       "{% macro m() %}<{{ x }}>{% endmacro %}{% set ns.m = m %}{% endfor %}"
                       "{{ ns.m() }}{{ ns.l.length }}{{ ns.l.last }}{{ ns.l.index }}"),
            "no error: <>2False3");
}

TEST(JinjaLimits, numbers_at_the_edge_are_errors_or_right) {
  expect_error("{{ 9223372036854775807 + 1 }}", "does not fit 64 bits");
  expect_error("{{ 9223372036854775808 }}", "does not fit 64 bits");
  expect_error("{{ -9223372036854775807 - 2 }}", "does not fit 64 bits");
  expect_error("{{ (-9223372036854775807 - 1) // -1 }}", "does not fit 64 bits");
  expect_error("{{ (-9223372036854775807 - 1) | abs }}", "does not fit 64 bits");
  expect_error("{{ -(-9223372036854775807 - 1) }}", "does not fit 64 bits");
  expect_error("{{ 10 ** 100 }}", "does not fit 64 bits");
  EXPECT_EQ(message_of("{{ (-9223372036854775807 - 1) % -1 }} {{ 1e308 * 10 }} {{ 1e999 | int }}"),
            "no error: 0 inf 0");
  EXPECT_EQ(message_of("{{ 'abc'[9223372036854775807:] }}{{ 'abc'[:-9223372036854775807] }}"
                       "{{ 'abc'[::9223372036854775807] }}{{ 'abc'[::-9223372036854775807] }}"),
            "no error: ac");
}

TEST(JinjaLimits, bytes_that_are_no_text_do_no_harm) {
  EXPECT_EQ(message_of("\xff{{ '\xc3' | length }}{{ '\x80\xfe'[::-1] | length }}"),
            "no error: \xff"
            "12");
}

}  // namespace
}  // namespace skvis
