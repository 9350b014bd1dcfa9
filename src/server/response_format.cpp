// SPDX-License-Identifier: Apache-2.0
// The fields by which clients ask for structured output.
#include "server/grammars.hpp"

namespace skvis {
namespace {

using Kind = WantedGrammar::Kind;

constexpr size_t kMaxChoices = 4096;

// Notes one wish; a second one is refused.
class Wishes {
 public:
  Wishes(FieldReader& reader, WantedGrammar& grammar) : reader_(reader), grammar_(grammar) {}

  void schema(const std::string& field, const Json& value) {
    if (value.is_string()) {  // its text
      const auto& text = value.get_ref<const std::string&>();
      if (text.empty()) return;
      auto parsed = parse_json(text, field);
      if (!parsed) return refuse(field, parsed.error().message);
      return schema(field, *parsed);
    }
    if (!value.is_object() && !value.is_boolean()) {
      return reader_.wrong_type(field, "a JSON schema: an object, or its text");
    }
    if (note(field, Kind::json_schema)) grammar_.schema = value;
  }
  void json_object(const std::string& field) { note(field, Kind::json_object); }
  void text(const std::string& field, const Json& value, Kind kind) {
    if (!value.is_string()) return reader_.wrong_type(field, "a string");
    if (value.get_ref<const std::string&>().empty()) return;
    if (note(field, kind)) grammar_.text = value.get<std::string>();
  }
  void choices(const std::string& field, const Json& value) {
    if (!value.is_array()) return reader_.wrong_type(field, "an array of strings");
    if (value.empty()) return;
    if (value.size() > kMaxChoices) {
      return refuse(field, fmt::format("at most {} choices, found {}", kMaxChoices, value.size()));
    }
    for (const Json& choice : value) {
      if (!choice.is_string()) return reader_.wrong_type(field, "an array of strings");
    }
    if (note(field, Kind::choices)) grammar_.choices = value.get<std::vector<std::string>>();
  }
  void refuse(const std::string& field, const std::string& why) {
    reader_.refuse(field, fmt::format("request: '{}': {}", field, why));
  }

 private:
  bool note(const std::string& field, Kind kind) {
    if (grammar_.kind != Kind::any) {
      refuse(field, fmt::format("'{}' says already what the answer is to be; send one of them",
                                grammar_.field));
      return false;
    }
    grammar_.kind = kind;
    grammar_.field = field;
    return true;
  }

  FieldReader& reader_;
  WantedGrammar& grammar_;
};

// OpenAI's {type, json_schema: {name, schema, strict}}, and llama.cpp's {type, schema}.
void read_response_format(FieldReader& reader, Wishes& wishes) {
  const std::string field = "response_format";
  const Json* format = reader.find(field);
  if (format == nullptr) return;
  if (!format->is_object()) return reader.wrong_type(field, "an object");
  const auto type = format->find("type");
  const std::string name =
      type != format->end() && type->is_string() ? type->get<std::string>() : std::string();
  if (name == "text") return;
  if (name != "json_object" && name != "json_schema") {
    return wishes.refuse(field, "its 'type' must be 'text', 'json_object' or 'json_schema'" +
                                    (name.empty() ? std::string() : ", found '" + name + "'"));
  }
  const auto outer = format->find("schema");
  if (outer != format->end() && !outer->is_null()) return wishes.schema(field, *outer);
  if (name == "json_object") return wishes.json_object(field);
  const auto inner = format->find("json_schema");
  if (inner == format->end() || !inner->is_object() || !inner->contains("schema")) {
    return wishes.refuse(field, "'json_schema' must be an object with the member 'schema'");
  }
  wishes.schema(field, (*inner)["schema"]);
}

// vLLM's, of which one member may be given.
void read_structured_outputs(FieldReader& reader, Wishes& wishes) {
  const std::string field = "structured_outputs";
  const Json* outputs = reader.find(field);
  if (outputs == nullptr) return;
  if (!outputs->is_object()) return reader.wrong_type(field, "an object");
  for (const auto& [key, value] : outputs->items()) {
    if (value.is_null()) continue;
    if (key == "json") {
      wishes.schema(field, value);
    } else if (key == "regex") {
      wishes.text(field, value, Kind::pattern);
    } else if (key == "choice") {
      wishes.choices(field, value);
    } else if (key == "grammar") {
      wishes.text(field, value, Kind::gbnf);
    } else if (key == "json_object") {
      if (value == true) wishes.json_object(field);
    } else {
      return wishes.refuse(field, fmt::format("there is no member '{}' here; it takes json, regex, "
                                              "choice, grammar or json_object",
                                              key));
    }
  }
}

}  // namespace

void read_grammar(FieldReader& reader, WantedGrammar& grammar) {
  Wishes wishes(reader, grammar);
  read_response_format(reader, wishes);
  read_structured_outputs(reader, wishes);
  const auto given = [&](const std::string& key, auto take) {
    if (const Json* value = reader.find(key)) take(key, *value);
  };
  for (const char* key : {"json_schema", "guided_json"}) {
    given(key, [&](const std::string& field, const Json& value) { wishes.schema(field, value); });
  }
  for (const auto& [key, kind] :
       {std::pair{"grammar", Kind::gbnf}, std::pair{"guided_grammar", Kind::gbnf},
        std::pair{"guided_regex", Kind::pattern}}) {
    given(key, [&, kind = kind](const std::string& field, const Json& value) {
      wishes.text(field, value, kind);
    });
  }
  given("guided_choice",
        [&](const std::string& field, const Json& value) { wishes.choices(field, value); });
}

}  // namespace skvis
