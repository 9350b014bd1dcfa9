// SPDX-License-Identifier: Apache-2.0
#include "grammar/json_keywords.hpp"

#include <algorithm>
#include <optional>
#include <span>

namespace skvis {
namespace {

struct Keyword {
  std::string_view name;
  KeywordScope scope;
};

constexpr Keyword kSupported[] = {
    {"$ref", KeywordScope::any},
    {"type", KeywordScope::any},
    {"enum", KeywordScope::any},
    {"const", KeywordScope::any},
    {"anyOf", KeywordScope::any},
    {"oneOf", KeywordScope::any},
    {"allOf", KeywordScope::any},
    {"nullable", KeywordScope::any},
    {"properties", KeywordScope::object},
    {"required", KeywordScope::object},
    {"additionalProperties", KeywordScope::object},
    {"items", KeywordScope::array},
    {"prefixItems", KeywordScope::array},
    {"additionalItems", KeywordScope::array},
    {"minItems", KeywordScope::array},
    {"maxItems", KeywordScope::array},
    {"uniqueItems", KeywordScope::array},
    {"minLength", KeywordScope::string},
    {"maxLength", KeywordScope::string},
    {"pattern", KeywordScope::string},
    {"format", KeywordScope::string},
    {"minimum", KeywordScope::number},
    {"maximum", KeywordScope::number},
    {"exclusiveMinimum", KeywordScope::number},
    {"exclusiveMaximum", KeywordScope::number},
};

constexpr std::string_view kAnnotations[] = {
    "title",        "description",   "default",    "examples",         "example",
    "$schema",      "$id",           "$comment",   "$anchor",          "$defs",
    "definitions",  "$vocabulary",   "deprecated", "readOnly",         "writeOnly",
    "externalDocs", "discriminator", "xml",        "contentMediaType", "contentEncoding",
    "id",
};

constexpr std::string_view kUnsupported[] = {
    "multipleOf",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "propertyNames",
    "patternProperties",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
};

const Keyword* find_keyword(std::string_view name) {
  const auto* found = std::find_if(std::begin(kSupported), std::end(kSupported),
                                   [&](const Keyword& each) { return each.name == name; });
  return found == std::end(kSupported) ? nullptr : found;
}

template <size_t N>
bool listed(const std::string_view (&list)[N], std::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

constexpr int kMaxReferences = 64;   // one leading to the next without anything between
constexpr int kMaxMerges = 1 << 14;  // of one place: references may fan out

class Merger {
 public:
  Merger(const Json& root, const std::string& pointer) : root_(root), pointer_(pointer) {}

  Result<Json> merge(const Json& first, const Json& second, int depth) {
    if (++merges_ > kMaxMerges) {
      return fail("{}: more than {} schemas must hold together", pointer_, kMaxMerges);
    }
    SKVIS_TRY(Json a, plain(first, depth));
    SKVIS_TRY(const Json b, plain(second, depth));
    if (a.is_boolean()) return a.get<bool>() ? b : a;
    if (b.is_boolean()) return b.get<bool>() ? a : b;
    SKVIS_CHECK(check_closed(a, b));
    SKVIS_CHECK(check_closed(b, a));
    if (a.contains("items") != b.contains("items") &&
        a.contains("prefixItems") != b.contains("prefixItems")) {
      return refuse("prefixItems");
    }
    for (const auto& [key, value] : b.items()) {
      if (is_annotation(key)) {
        if (!a.contains(key)) a[key] = value;
        continue;
      }
      if (!a.contains(key)) {
        a[key] = value;
      } else if (a[key] != value) {
        SKVIS_CHECK(merge_keyword(a, key, value));
        if (impossible_) return Json(false);
      }
    }
    return a;
  }

 private:
  Error refuse(std::string_view key) const {
    return fail(
        "{}: '{}' differs in schemas that must hold together (allOf, or beside anyOf, oneOf "
        "or $ref) and they cannot be merged exactly; write them as one schema",
        pointer_, key);
  }

  // Without a reference or allOf at the top, and with its keywords known.
  Result<Json> plain(const Json& schema, int depth) {
    if (depth > kMaxReferences) {
      return fail("{}: references lead to each other without end", pointer_);
    }
    if (schema.is_boolean()) return schema;
    SKVIS_CHECK(check_keywords(schema, pointer_));
    Json base = schema;
    if (schema.contains("$ref")) {
      SKVIS_TRY(const Json* target, find_reference(root_, schema["$ref"], pointer_));
      base.erase("$ref");
      return merge(*target, base, depth + 1);
    }
    if (!schema.contains("allOf")) return base;
    if (!schema["allOf"].is_array()) {
      return fail("{}/allOf: expected an array of schemas", pointer_);
    }
    base.erase("allOf");
    for (const Json& each : schema["allOf"]) {
      SKVIS_TRY(base, merge(base, each, depth + 1));
    }
    return base;
  }

  // Members that `open` declares and `closed` does not are members that `closed` speaks of, too.
  Result<void> check_closed(const Json& closed, const Json& open) const {
    const auto restricts = closed.find("additionalProperties");
    if (restricts == closed.end() || *restricts == Json(true)) return {};
    const auto theirs = open.find("properties");
    if (theirs == open.end() || !theirs->is_object()) return {};
    const auto ours = closed.find("properties");
    for (const auto& [name, value] : theirs->items()) {
      if (ours == closed.end() || !ours->contains(name)) return refuse("additionalProperties");
    }
    return {};
  }

  Result<void> merge_keyword(Json& a, const std::string& key, const Json& value) {
    Json& mine = a[key];
    const auto both = [](const Json& x, const Json& y) {
      return Json{{"allOf", Json::array({x, y})}};
    };
    if (key == "properties" && mine.is_object() && value.is_object()) {
      for (const auto& [name, schema] : value.items()) {
        mine[name] =
            mine.contains(name) && mine[name] != schema ? both(mine[name], schema) : schema;
      }
      return {};
    }
    if (key == "items" || key == "additionalProperties") {
      mine = both(mine, value);
      return {};
    }
    if (key == "required" && mine.is_array() && value.is_array()) {
      for (const Json& name : value) {
        if (std::find(mine.begin(), mine.end(), name) == mine.end()) mine.push_back(name);
      }
      return {};
    }
    const bool least = key.starts_with("min") || key == "exclusiveMinimum";
    const bool most = key.starts_with("max") || key == "exclusiveMaximum";
    if ((least || most) && mine.is_number() && value.is_number()) {
      mine = least ? std::max(mine, value) : std::min(mine, value);
      return {};
    }
    if (key == "enum" && mine.is_array() && value.is_array()) {
      return keep_common(mine, value, [](const Json& x, const Json& y) { return x == y; });
    }
    if (key == "type") return merge_types(mine, value);
    if (key == "const") return impossible_ = true, Result<void>();
    return refuse(key);
  }

  template <typename Same>
  Result<void> keep_common(Json& mine, const Json& value, Same same) {
    Json kept = Json::array();
    for (const Json& x : mine) {
      const bool common =
          std::any_of(value.begin(), value.end(), [&](const Json& y) { return same(x, y); });
      if (common) kept.push_back(x);
    }
    impossible_ = kept.empty();
    mine = std::move(kept);
    return {};
  }

  Result<void> merge_types(Json& mine, const Json& value) {
    const auto list = [](const Json& type) { return type.is_array() ? type : Json::array({type}); };
    // An integer is a number: "integer" stays where the other side says "number".
    Json a = list(mine), b = list(value);
    Json kept = Json::array();
    const auto has = [](const Json& types, std::string_view name) {
      return std::find(types.begin(), types.end(), Json(std::string(name))) != types.end();
    };
    for (const Json& type : a) {
      const bool integer = type == Json("integer") && has(b, "number");
      if (integer || std::find(b.begin(), b.end(), type) != b.end()) kept.push_back(type);
    }
    if (has(a, "number") && has(b, "integer") && !has(kept, "integer")) kept.push_back("integer");
    impossible_ = kept.empty();
    mine = std::move(kept);
    return {};
  }

  const Json& root_;
  const std::string& pointer_;
  bool impossible_ = false;
  int merges_ = 0;
};

// "%41" is 'A'; nothing for a percent sign with no two hexadecimal digits.
std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87 : -1;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(16 * digit(text[i + 1]) + digit(text[i + 2])));
    i += 2;
  }
  return out;
}

}  // namespace

bool is_annotation(std::string_view keyword) {
  return listed(kAnnotations, keyword) || keyword.starts_with("x-");
}

Result<void> check_keywords(const Json& schema, const std::string& pointer) {
  if (!schema.is_object()) {
    return fail("{}: a schema must be an object or a boolean, found {}", pointer,
                json_type(schema));
  }
  for (const auto& [key, value] : schema.items()) {
    if (is_annotation(key) || find_keyword(key) != nullptr) continue;
    if (listed(kUnsupported, key)) {
      return fail("{}: the keyword '{}' is not supported", pointer_to(pointer, key), key);
    }
    return fail("{}: unknown keyword '{}'", pointer_to(pointer, key), key);
  }
  return {};
}

bool has_keywords(const Json& schema, KeywordScope scope) {
  return std::any_of(schema.items().begin(), schema.items().end(), [&](const auto& item) {
    const Keyword* keyword = find_keyword(item.key());
    return keyword != nullptr && keyword->scope == scope;
  });
}

std::string pointer_to(const std::string& pointer, std::string_view step) {
  std::string path = pointer + "/";
  for (const char c : step) {
    if (c == '~') {
      path += "~0";
    } else if (c == '/') {
      path += "~1";
    } else {
      path.push_back(c);
    }
  }
  return path;
}

Result<const Json*> find_reference(const Json& root, const Json& reference,
                                   const std::string& pointer) {
  const std::string where = pointer_to(pointer, "$ref");
  if (!reference.is_string()) return fail("{}: expected a string", where);
  const std::string text = reference.get<std::string>();
  const auto path = percent_decoded(text);
  if (!path || !(*path == "#" || path->starts_with("#/"))) {
    return fail(
        "{}: '{}' is not supported: references lead into this document, as in "
        "\"#/$defs/name\"",
        where, text);
  }
  const Json* at = &root;
  for (size_t begin = 1; begin < path->size();) {
    const size_t end = std::min(path->find('/', begin + 1), path->size());
    std::string step;
    for (size_t i = begin + 1; i < end; ++i) {
      const bool escape = (*path)[i] == '~' && i + 1 < end;
      step.push_back(!escape ? (*path)[i] : (*path)[++i] == '0' ? '~' : '/');
    }
    const Json* next = nullptr;
    if (at->is_object()) {
      const auto found = at->find(step);
      if (found != at->end()) next = &*found;
    } else if (at->is_array() && !step.empty() && step.size() < 8 &&
               step.find_first_not_of("0123456789") == step.npos) {
      const size_t index = std::stoul(step);
      if (index < at->size()) next = &(*at)[index];
    }
    if (next == nullptr) return fail("{}: '{}' leads nowhere: there is no '{}'", where, text, step);
    at = next;
    begin = end;
  }
  return at;
}

Result<Json> merge_schemas(const Json& root, const Json& a, const Json& b,
                           const std::string& pointer) {
  return Merger(root, pointer).merge(a, b, 0);
}

}  // namespace skvis
