// SPDX-License-Identifier: Apache-2.0
#include "server/unsupported.hpp"

namespace skvis {
namespace {

constexpr const char* kUnsupported = "unsupported_parameter";

// Numbers at whose neutral value nothing happens.
struct NeutralNumber {
  std::string_view key;
  double neutral;
};
constexpr NeutralNumber kNumbers[] = {
    {"mirostat", 0},
    {"dry_multiplier", 0},
    {"xtc_probability", 0},
};

// Texts and lists that ask for nothing when they are empty.
enum class Kind : uint8_t { text, array };
struct EmptyField {
  std::string_view key;
  Kind kind;
};
constexpr EmptyField kEmptyFields[] = {
    {"tools", Kind::array},
    {"functions", Kind::array},
    {"suffix", Kind::text},
};

bool is_kind(const Json& value, Kind kind) {
  return kind == Kind::text ? value.is_string() : value.is_array();
}

void refuse_field(FieldReader& reader, std::string_view key, std::string_view only) {
  reader.refuse(key, fmt::format("request: '{}' is not supported by this server; {}", key, only),
                kUnsupported);
}

void check_number(FieldReader& reader, const NeutralNumber& field) {
  const Json* value = reader.find(field.key);
  if (value == nullptr) return;
  if (!value->is_number()) return reader.wrong_type(field.key, "a number");
  if (value->get<double>() != field.neutral) {
    refuse_field(reader, field.key, fmt::format("leave it out or send {}", field.neutral));
  }
}

void check_empty(FieldReader& reader, const EmptyField& field) {
  const Json* value = reader.find(field.key);
  if (value == nullptr) return;
  if (!is_kind(*value, field.kind)) {
    return reader.wrong_type(field.key, field.kind == Kind::text ? "a string" : "an array");
  }
  const bool empty =
      value->is_string() ? value->get_ref<const std::string&>().empty() : value->empty();
  if (!empty) refuse_field(reader, field.key, "leave it out");
}

void check_tool_choice(FieldReader& reader) {
  const Json* choice = reader.find("tool_choice");
  if (choice == nullptr) return;
  if (!choice->is_string() && !choice->is_object()) {
    return reader.wrong_type("tool_choice", "a string or an object");
  }
  if (*choice != "none" && *choice != "auto") {
    refuse_field(reader, "tool_choice", "leave it out or send 'none'");
  }
}

}  // namespace

void refuse_unsupported(FieldReader& reader) {
  for (const NeutralNumber& field : kNumbers) check_number(reader, field);
  for (const EmptyField& field : kEmptyFields) check_empty(reader, field);
  check_tool_choice(reader);
}

}  // namespace skvis
