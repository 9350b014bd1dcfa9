// SPDX-License-Identifier: Apache-2.0
#include "server/openapi.hpp"

#include <gtest/gtest.h>

#include <set>

#include "base/json.hpp"
#include "server/routes.hpp"

namespace skvis {
namespace {

Json document() {
  auto parsed = parse_json(openapi_json(), "openapi.json");
  EXPECT_TRUE(parsed.ok()) << parsed.error().message;
  return parsed ? *parsed : Json();
}

// Every {"$ref": "#/a/b"} below `value`.
void collect_references(const Json& value, std::set<std::string>& found) {
  if (value.is_object() && value.contains("$ref")) found.insert(value["$ref"].get<std::string>());
  if (value.is_structured()) {
    for (const Json& item : value) collect_references(item, found);
  }
}

TEST(openapi, it_describes_the_routes_that_the_router_knows_and_no_others) {
  std::set<std::string> described;
  const Json paths = document()["paths"];
  for (const auto& [path, item] : paths.items()) {
    for (const auto& [method, operation] : item.items()) described.insert(method + " " + path);
  }
  std::set<std::string> known;
  for (const Route& route : all_routes()) {
    known.insert((route.post ? "post " : "get ") + std::string(route.path));
  }
  EXPECT_EQ(described, known);
}

TEST(openapi, it_says_which_routes_need_no_key) {
  const Json paths = document()["paths"];
  for (const Route& route : all_routes()) {
    const Json& operation = paths[std::string(route.path)][route.post ? "post" : "get"];
    EXPECT_EQ(operation.contains("security"), route.open) << route.path;
    EXPECT_EQ(operation["responses"].contains("401"), !route.open) << route.path;
  }
}

TEST(openapi, its_references_lead_somewhere) {
  const Json all = document();
  std::set<std::string> references;
  collect_references(all, references);
  ASSERT_GT(references.size(), 10u);
  for (const std::string& reference : references) {
    ASSERT_TRUE(reference.starts_with("#/")) << reference;
    EXPECT_TRUE(all.contains(Json::json_pointer(reference.substr(1)))) << reference;
  }
  EXPECT_EQ(all["info"]["version"], SKVIS_VERSION);
}

}  // namespace
}  // namespace skvis
