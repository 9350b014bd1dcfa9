// SPDX-License-Identifier: Apache-2.0
#include "grammar/json_schema.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>

#include "grammar/json_formats.hpp"
#include "grammar/json_grammar.hpp"
#include "grammar/json_keywords.hpp"
#include "grammar/json_numbers.hpp"
#include "grammar/pattern.hpp"

namespace skvis {
namespace {

constexpr int kMaxDepth = 64;                   // of schemas within schemas
constexpr size_t kMaxMerged = size_t{4} << 20;  // bytes of all merged schemas as text
constexpr uint32_t kMaxCount = 1u << 17;        // of minItems, maxLength and the like

class SchemaCompiler {
 public:
  SchemaCompiler(const Json& root, const JsonSchemaOptions& options)
      : root_(root), json_(builder_, options.compact) {}

  Result<Grammar> run() {
    const auto start = builder_.add_rule("#");
    const auto whole = reference_rule("#", root_, "#");
    builder_.define(start, builder_.reference(whole));
    // Rules of references, which may refer to each other, one after the other.
    while (!open_.empty()) {
      const Open next = std::move(open_.front());
      open_.pop_front();
      SKVIS_TRY(const Expression body,
                compile(next.schema ? *next.schema : next.merged, next.pointer, 0));
      builder_.define(next.rule, body);
    }
    auto grammar = builder_.build(start);
    if (!grammar) return fail("JSON schema: {}", grammar.error().message);
    return grammar;
  }

 private:
  using Expression = GrammarBuilder::Expression;
  struct Open {
    GrammarBuilder::RuleId rule;
    const Json* schema;  // or null: `merged`
    Json merged;
    std::string pointer;
  };

  GrammarBuilder::RuleId reference_rule(const std::string& name, const Json& target,
                                        const std::string& pointer) {
    const auto known = rules_.find(name);
    if (known != rules_.end()) return known->second;
    const auto rule = builder_.add_rule(name);
    rules_.emplace(name, rule);
    open_.push_back({rule, &target, {}, pointer});
    return rule;
  }

  // A schema made by merging: known by its text, so that recursion through it comes to an end.
  Result<Expression> merged_rule(Json merged, const std::string& pointer) {
    std::string key = "merged " + dump_json(merged);
    merged_bytes_ += key.size();
    if (merged_bytes_ > kMaxMerged) {
      return fail("{}: merging schemas takes more than {} bytes", pointer, kMaxMerged);
    }
    const auto known = rules_.find(key);
    if (known != rules_.end()) return builder_.reference(known->second);
    const auto rule = builder_.add_rule(pointer);
    rules_.emplace(std::move(key), rule);
    open_.push_back({rule, nullptr, std::move(merged), pointer});
    return builder_.reference(rule);
  }

  Result<Expression> compile(const Json& schema, const std::string& pointer, int depth) {
    if (depth > kMaxDepth) {
      return fail("{}: schemas are nested deeper than {} levels", pointer, kMaxDepth);
    }
    if (schema.is_boolean()) return schema.get<bool>() ? json_.any_value() : builder_.nothing();
    SKVIS_CHECK(check_keywords(schema, pointer));
    Json base = Json::object();  // the validating keywords
    for (const auto& [key, value] : schema.items()) {
      if (!is_annotation(key)) base[key] = value;
    }
    for (const char* key : {"$ref", "allOf", "anyOf", "oneOf"}) {
      if (base.contains(key)) return compile_applicator(base, key, pointer, depth);
    }
    SKVIS_TRY(const bool nullable, json_bool_or(base, "nullable", pointer, false));
    base.erase("nullable");
    SKVIS_TRY(Expression value, base.contains("const") || base.contains("enum")
                                    ? compile_constants(base, pointer)
                                    : compile_types(base, pointer, depth));
    return nullable ? builder_.choice({value, builder_.literal("null")}) : value;
  }

  // $ref, allOf, anyOf and oneOf, beside other keywords or alone.
  Result<Expression> compile_applicator(const Json& schema, const std::string& key,
                                        const std::string& pointer, int depth) {
    Json base = schema;
    base.erase(key);
    const std::string place = pointer_to(pointer, key);
    if (key == "$ref") {
      SKVIS_TRY(const Json* target, find_reference(root_, schema[key], pointer));
      if (base.empty()) {
        const std::string name = schema[key].get<std::string>();
        return builder_.reference(reference_rule(name, *target, name));
      }
    }
    if (key == "$ref" || key == "allOf") {
      const Json* only = key == "allOf" && schema[key].is_array() && schema[key].size() == 1
                             ? &schema[key][0]
                             : nullptr;
      if (only != nullptr && base.empty()) {
        return compile(*only, pointer_to(place, "0"), depth + 1);
      }
      SKVIS_TRY(Json merged, merge_schemas(root_, schema, Json::object(), pointer));
      return merged_rule(std::move(merged), pointer);
    }
    if (!schema[key].is_array() || schema[key].empty()) {
      return fail("{}: expected an array of schemas that is not empty", place);
    }
    std::vector<Expression> alternatives;
    for (size_t i = 0; i < schema[key].size(); ++i) {
      const Json& each = schema[key][i];
      const std::string where = pointer_to(place, std::to_string(i));
      if (base.empty()) {
        SKVIS_TRY(const Expression alternative, compile(each, where, depth + 1));
        alternatives.push_back(alternative);
      } else {
        SKVIS_TRY(Json merged, merge_schemas(root_, base, each, where));
        SKVIS_TRY(const Expression alternative, merged_rule(std::move(merged), where));
        alternatives.push_back(alternative);
      }
    }
    return builder_.choice(alternatives);
  }

  Result<Expression> compile_constants(const Json& schema, const std::string& pointer) {
    Json values = Json::array();
    if (schema.contains("enum")) {
      if (!schema["enum"].is_array()) {
        return fail("{}: expected an array", pointer_to(pointer, "enum"));
      }
      values = schema["enum"];
    }
    if (schema.contains("const")) {
      const Json& value = schema["const"];
      const bool listed = !schema.contains("enum") ||
                          std::find(values.begin(), values.end(), value) != values.end();
      values = Json::array();
      if (listed) values.push_back(value);
    }
    std::vector<std::string> types;
    if (schema.contains("type")) {
      SKVIS_TRY(types, read_types(schema, pointer));
    }
    for (const auto& [key, value] : schema.items()) {
      if (key == "enum" || key == "const" || key == "type") continue;
      return fail("{}: '{}' beside 'enum' or 'const' is not supported; leave it out",
                  pointer_to(pointer, key), key);
    }
    std::vector<Json> kept;
    for (const Json& value : values) {
      const auto fits = [&](const std::string& type) { return has_type(value, type); };
      if (types.empty() || std::any_of(types.begin(), types.end(), fits)) kept.push_back(value);
    }
    return json_.constants(kept);
  }

  static bool has_type(const Json& value, const std::string& type) {
    if (type == "integer") {
      const bool whole = value.is_number_float() &&
                         value.get<double>() == static_cast<double>(static_cast<int64_t>(
                                                    std::clamp(value.get<double>(), -9e18, 9e18)));
      return value.is_number_integer() || whole;
    }
    return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
           (type == "string" && value.is_string()) || (type == "number" && value.is_number()) ||
           (type == "boolean" && value.is_boolean()) || (type == "null" && value.is_null());
  }

  Result<std::vector<std::string>> read_types(const Json& schema, const std::string& pointer) {
    constexpr std::string_view kTypes[] = {"object",  "array",   "string", "number",
                                           "integer", "boolean", "null"};
    const Json list = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
    std::vector<std::string> types;
    for (const Json& type : list) {
      const bool known = type.is_string() && std::find(std::begin(kTypes), std::end(kTypes),
                                                       type.get<std::string>()) != std::end(kTypes);
      if (!known) {
        return fail("{}: {} is no type; types are {}", pointer_to(pointer, "type"), dump_json(type),
                    fmt::join(kTypes, ", "));
      }
      types.push_back(type.get<std::string>());
    }
    if (types.empty()) return fail("{}: the list is empty", pointer_to(pointer, "type"));
    return types;
  }

  Result<Expression> compile_types(const Json& schema, const std::string& pointer, int depth) {
    std::vector<std::string> types;
    if (schema.contains("type")) {
      SKVIS_TRY(types, read_types(schema, pointer));
    } else {
      // Keywords about one type speak of that type: others would validate, but are not meant.
      if (has_keywords(schema, KeywordScope::object)) types.push_back("object");
      if (has_keywords(schema, KeywordScope::array)) types.push_back("array");
      if (has_keywords(schema, KeywordScope::string)) types.push_back("string");
      if (has_keywords(schema, KeywordScope::number)) types.push_back("number");
      if (types.empty()) return json_.any_value();
    }
    std::vector<Expression> alternatives;
    for (const std::string& type : types) {
      SKVIS_TRY(const Expression each, compile_type(type, schema, pointer, depth));
      alternatives.push_back(each);
    }
    return builder_.choice(alternatives);
  }

  Result<Expression> compile_type(const std::string& type, const Json& schema,
                                  const std::string& pointer, int depth) {
    if (type == "null") return builder_.literal("null");
    if (type == "boolean") {
      return builder_.choice({builder_.literal("true"), builder_.literal("false")});
    }
    if (type == "string") return compile_string(schema, pointer);
    if (type == "array") return compile_array(schema, pointer, depth);
    if (type == "object") return compile_object(schema, pointer, depth);
    SKVIS_TRY(const NumberBounds bounds, read_bounds(schema, pointer));
    std::string key = type;
    for (const auto* bound : {&bounds.min, &bounds.max}) {
      key += *bound ? ((*bound)->exclusive ? " )" : " ]") + dump_json((*bound)->value) : " -";
    }
    return shared(key, [&]() -> Result<Expression> {
      if (type == "integer") return integer_between(builder_, bounds);
      auto number = number_between(builder_, bounds);
      if (!number) return fail("{}: {}", pointer, number.error().message);
      return number;
    });
  }

  // One rule for all places that say the same: what is learnt of it serves them all.
  template <typename Make>
  Result<Expression> shared(const std::string& key, Make make) {
    const auto known = leaves_.find(key);
    if (known != leaves_.end()) return known->second;
    SKVIS_TRY(const Expression body, make());
    const auto rule = builder_.add_rule(key);
    builder_.define(rule, body);
    return leaves_[key] = builder_.reference(rule);
  }

  Result<NumberBounds> read_bounds(const Json& schema, const std::string& pointer) {
    NumberBounds bounds;
    const auto read = [&](const char* key, bool exclusive, bool least,
                          std::optional<NumberBounds::Bound>& bound) -> Result<void> {
      const auto found = schema.find(key);
      if (found == schema.end()) return {};
      if (!found->is_number()) {
        return fail("{}: expected a number, found {}", pointer_to(pointer, key), json_type(*found));
      }
      // Of two bounds the narrower one counts, and of equal ones the exclusive one.
      if (!bound || (least ? *found >= bound->value : *found <= bound->value)) {
        bound = {*found, exclusive};
      }
      return {};
    };
    SKVIS_CHECK(read("minimum", false, true, bounds.min));
    SKVIS_CHECK(read("exclusiveMinimum", true, true, bounds.min));
    SKVIS_CHECK(read("maximum", false, false, bounds.max));
    SKVIS_CHECK(read("exclusiveMaximum", true, false, bounds.max));
    return bounds;
  }

  Result<uint32_t> read_count(const Json& schema, const char* key, const std::string& pointer,
                              uint32_t fallback) {
    const auto found = schema.find(key);
    if (found == schema.end()) return fallback;
    const double value = found->is_number() ? found->get<double>() : -1;
    if (value < 0 || value != static_cast<double>(static_cast<uint64_t>(std::min(value, 1e15)))) {
      return fail("{}: expected a whole number from 0, found {}", pointer_to(pointer, key),
                  dump_json(*found));
    }
    if (value > kMaxCount) {
      return fail("{}: at most {} is supported, found {}; leave it out or lower it",
                  pointer_to(pointer, key), kMaxCount, dump_json(*found));
    }
    return static_cast<uint32_t>(value);
  }

  Result<Expression> compile_string(const Json& schema, const std::string& pointer) {
    SKVIS_TRY(const uint32_t min, read_count(schema, "minLength", pointer, 0));
    SKVIS_TRY(const uint32_t max, read_count(schema, "maxLength", pointer, kUnlimited));
    const bool bounded = min > 0 || max != kUnlimited;
    const bool has_pattern = schema.contains("pattern"), has_format = schema.contains("format");
    if (!has_pattern && !has_format) {
      return shared(fmt::format("string {} {}", min, max),
                    [&]() -> Result<Expression> { return json_.string(min, max); });
    }
    if (has_pattern + has_format + bounded > 1) {
      return fail(
          "{}: only one of 'pattern', 'format' and bounds of the length is supported at "
          "once; a bound can be written into the pattern",
          pointer);
    }
    const std::string key = has_pattern ? "pattern" : "format";
    const std::string where = pointer_to(pointer, key);
    SKVIS_TRY(std::string pattern, json_string(schema, key, pointer));
    if (has_format) {
      const auto known = pattern_of_format(pattern);
      if (!known) {
        return fail("{}: the format '{}' is not supported; supported are {}", where, pattern,
                    supported_formats());
      }
      pattern = *known;
    }
    return shared("pattern " + pattern, [&]() -> Result<Expression> {
      const auto inside = parse_pattern(
          builder_, pattern,
          {.character = [&](const CodePointSet& set) { return json_.string_character(set); },
           .search = true});
      if (!inside) return fail("{}: {}", where, inside.error().message);
      return json_.quoted(*inside);
    });
  }

  Result<Expression> compile_array(const Json& schema, const std::string& pointer, int depth) {
    SKVIS_TRY(const uint32_t min, read_count(schema, "minItems", pointer, 0));
    SKVIS_TRY(const uint32_t max, read_count(schema, "maxItems", pointer, kUnlimited));
    SKVIS_TRY(const bool unique, json_bool_or(schema, "uniqueItems", pointer, false));
    if (unique && max > 1) {
      return fail("{}: the keyword 'uniqueItems' is not supported",
                  pointer_to(pointer, "uniqueItems"));
    }
    // Draft 7 writes prefixItems as a list under `items`, and `items` as `additionalItems`.
    const bool draft7 = schema.contains("items") && schema["items"].is_array();
    const std::string first_key = draft7 ? "items" : "prefixItems";
    const std::string rest_key = draft7 ? "additionalItems" : "items";
    std::vector<Expression> first;
    if (schema.contains(first_key)) {
      const std::string place = pointer_to(pointer, first_key);
      if (!schema[first_key].is_array()) return fail("{}: expected an array of schemas", place);
      for (const Json& each : schema[first_key]) {
        SKVIS_TRY(const Expression element,
                  compile(each, pointer_to(place, std::to_string(first.size())), depth + 1));
        first.push_back(element);
      }
    }
    Expression rest = json_.any_value();
    if (schema.contains(rest_key)) {
      SKVIS_TRY(rest, compile(schema[rest_key], pointer_to(pointer, rest_key), depth + 1));
    }
    return json_.array(first, rest, min, max);
  }

  Result<Expression> compile_object(const Json& schema, const std::string& pointer, int depth) {
    std::vector<std::string> required;
    if (schema.contains("required")) {
      const std::string place = pointer_to(pointer, "required");
      if (!schema["required"].is_array()) return fail("{}: expected an array of names", place);
      for (const Json& name : schema["required"]) {
        if (!name.is_string()) return fail("{}: expected names, found {}", place, json_type(name));
        required.push_back(name.get<std::string>());
      }
    }
    const bool open = schema.contains("additionalProperties");
    std::optional<Expression> others;
    if (open) {
      SKVIS_TRY(others, compile(schema["additionalProperties"],
                                pointer_to(pointer, "additionalProperties"), depth + 1));
    }
    std::vector<JsonGrammar::Member> members;
    if (schema.contains("properties")) {
      const std::string place = pointer_to(pointer, "properties");
      if (!schema["properties"].is_object()) return fail("{}: expected an object", place);
      for (const auto& [name, value] : schema["properties"].items()) {
        SKVIS_TRY(const Expression member, compile(value, pointer_to(place, name), depth + 1));
        const auto found = std::find(required.begin(), required.end(), name);
        const bool is_required = found != required.end();
        required.erase(std::remove(required.begin(), required.end(), name), required.end());
        members.push_back({name, member, is_required});
      }
    } else if (!open && required.empty()) {
      return json_.any_object();
    }
    // Names that must be there and are declared nowhere.
    for (const std::string& name : required) {
      const bool seen = std::any_of(members.begin(), members.end(),
                                    [&](const auto& member) { return member.name == name; });
      if (!seen) members.push_back({name, open ? *others : json_.any_value(), true});
    }
    return json_.object(members, others);
  }

  const Json& root_;
  GrammarBuilder builder_;
  JsonGrammar json_;
  std::map<std::string, GrammarBuilder::RuleId> rules_;
  std::map<std::string, Expression> leaves_;
  std::deque<Open> open_;
  size_t merged_bytes_ = 0;
};

}  // namespace

Result<Grammar> compile_json_schema(const Json& schema, const JsonSchemaOptions& options) {
  return SchemaCompiler(schema, options).run();
}

Result<Grammar> compile_json_object(const JsonSchemaOptions& options) {
  GrammarBuilder builder;
  JsonGrammar json(builder, options.compact);
  const auto root = builder.add_rule("JSON");
  builder.define(root, json.any_object());
  return builder.build(root);
}

}  // namespace skvis
