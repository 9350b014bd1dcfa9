// SPDX-License-Identifier: Apache-2.0
#include "server/fields.hpp"

namespace skvis {
namespace {

constexpr std::string_view kWhere = "request";

}  // namespace

ApiResult<Json> parse_body(std::string_view body) {
  auto parsed = parse_json(body, "request body");
  if (!parsed) return bad_request(parsed.error().message);
  if (!parsed->is_object()) {
    return bad_request(
        fmt::format("request body: expected an object, found {}", json_type(*parsed)));
  }
  return std::move(*parsed);
}

const Json* FieldReader::find(std::string_view key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

template <typename T>
bool FieldReader::take(std::string_view key, const Result<T>& result) {
  if (!result) refuse(key, result.error().message);
  return result.ok();
}

void FieldReader::refuse(std::string_view key, std::string message, std::string code) {
  if (!error_) error_ = bad_request(std::move(message), name(key), std::move(code));
}

void FieldReader::wrong_type(std::string_view key, std::string_view expected) {
  const Json* value = find(key);
  refuse(key, value == nullptr
                  ? fmt::format("{}: '{}' is missing, expected {}", kWhere, name(key), expected)
                  : fmt::format("{}: '{}' must be {}, found {}", kWhere, name(key), expected,
                                json_type(*value)));
}

void FieldReader::boolean(std::string_view key, bool& out) {
  const auto value = json_bool_or(object_, key, kWhere, out);
  if (take(key, value)) out = *value;
}

void FieldReader::text(std::string_view key, std::string& out) {
  if (find(key) == nullptr) return;
  if (!find(key)->is_string()) return wrong_type(key, "a string");
  out = find(key)->get<std::string>();
}

void FieldReader::integer(std::string_view key, int64_t min, int64_t max,
                          std::optional<int64_t>& out) {
  if (find(key) == nullptr) return;
  const auto value = json_int(object_, key, kWhere, min, max);
  if (take(key, value)) out = *value;
}

void FieldReader::number(std::string_view key, double min, double max, std::optional<double>& out) {
  if (find(key) == nullptr) return;
  const auto value = json_number(object_, key, kWhere, min, max);
  if (take(key, value)) out = *value;
}

void FieldReader::texts(std::string_view key, size_t max_count, size_t max_length,
                        std::vector<std::string>& out) {
  const Json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_string() && !value->is_array()) {
    return wrong_type(key, "a string or an array of strings");
  }
  const Json list = value->is_string() ? Json::array({*value}) : *value;
  if (list.size() > max_count) {
    return refuse(key, fmt::format("{}: '{}' may hold {} strings, found {}", kWhere, name(key),
                                   max_count, list.size()));
  }
  for (const Json& item : list) {
    if (!item.is_string()) {
      return refuse(key, fmt::format("{}: '{}' must be a string or an array of strings, found {} "
                                     "in it",
                                     kWhere, name(key), json_type(item)));
    }
    const auto& text = item.get_ref<const std::string&>();
    if (text.size() > max_length) {
      return refuse(key, fmt::format("{}: strings in '{}' may have {} bytes, found one of {}",
                                     kWhere, name(key), max_length, text.size()));
    }
    if (!text.empty()) out.push_back(text);
  }
}

void FieldReader::ids(std::string_view key, std::vector<uint32_t>& out) {
  const Json* value = find(key);
  if (value == nullptr || !value->is_array()) return wrong_type(key, "an array of token ids");
  auto read = read_ids(*value, name(key));
  if (!read) {
    if (!error_) error_ = read.error();
  } else {
    out = std::move(*read);
  }
}

ApiResult<std::vector<uint32_t>> read_ids(const Json& array, std::string_view name) {
  std::vector<uint32_t> ids;
  ids.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    if (!array[i].is_number_unsigned() || array[i].get<uint64_t>() > UINT32_MAX) {
      return bad_request(fmt::format("{}: '{}[{}]' must be a token id (a whole number from 0 to "
                                     "{}), found {}",
                                     kWhere, name, i, UINT32_MAX,
                                     array[i].is_number() ? array[i].dump() : json_type(array[i])),
                         std::string(name));
    }
    ids.push_back(array[i].get<uint32_t>());
  }
  return ids;
}

}  // namespace skvis
