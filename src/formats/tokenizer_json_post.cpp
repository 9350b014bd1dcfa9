// SPDX-License-Identifier: Apache-2.0
#include "formats/tokenizer_json_post.hpp"

#include "formats/tokenizer_json_steps.hpp"

namespace skvis {
namespace {

constexpr size_t kMaxTemplate = 64;

Result<void> push_id(const Json& value, const std::string& where, TokenizerSpec& spec,
                     std::vector<uint32_t>& ids) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= spec.tokens.size()) {
    return fail("{}: {} is no token id, expected less than {}", where, dump_json(value),
                spec.tokens.size());
  }
  if (ids.size() >= kMaxTemplate) return fail("{}: more than {} tokens", where, kMaxTemplate);
  ids.push_back(value.get<uint32_t>());
  return {};
}

// {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
//  "special_tokens": {"<s>": {"ids": [1]}}}
Result<void> parse_template(const Json& value, const std::string& where, TokenizerSpec& spec) {
  const Json& single = json_member(value, "single");
  const Json& special_tokens = json_member(value, "special_tokens");
  if (!single.is_array()) {
    return fail("{}: 'single' must be an array, found {}", where, json_type(single));
  }
  bool behind = false;
  for (const Json& item : single) {
    if (!json_member(item, "Sequence").is_null()) {
      if (behind) return fail("{}: 'single' holds the text twice", where);
      behind = true;
      continue;
    }
    SKVIS_TRY(const std::string name,
              json_string(json_member(item, "SpecialToken"), "id", where + ".single"));
    const Json& ids = json_member(json_member(special_tokens, name), "ids");
    if (!ids.is_array()) {
      return fail("{}: 'special_tokens' has no ids for '{}'", where, name);
    }
    for (const Json& id : ids) {
      SKVIS_CHECK(push_id(id, where, spec, behind ? spec.suffix : spec.prefix));
    }
  }
  if (!behind) return fail("{}: 'single' does not hold the text (a Sequence)", where);
  return {};
}

Result<void> parse_step(const Json& value, const std::string& where, size_t depth,
                        TokenizerSpec& spec) {
  SKVIS_TRY(const std::string type, json_string(value, "type", where));
  if (type == "ByteLevel") return {};  // offsets only
  if (type == "TemplateProcessing") return parse_template(value, where, spec);
  if (type == "BertProcessing" || type == "RobertaProcessing") {  // "cls": ["<s>", 0]
    for (const bool first : {true, false}) {
      const Json& pair = json_member(value, first ? "cls" : "sep");
      if (!pair.is_array() || pair.size() != 2) {
        return fail("{}: '{}' must be [token, id]", where, first ? "cls" : "sep");
      }
      SKVIS_CHECK(push_id(pair[1], where, spec, first ? spec.prefix : spec.suffix));
    }
    return {};
  }
  const Json& list = json_member(value, "processors");
  if (type != "Sequence" || !list.is_array() || depth > 0) {
    return fail("{}: post-processor '{}' is not supported", where, type);
  }
  for (size_t i = 0; i < list.size(); ++i) {
    SKVIS_CHECK(parse_step(list[i], fmt::format("{}.processors[{}]", where, i), depth + 1, spec));
  }
  return {};
}

}  // namespace

Result<void> parse_post_processor(const Json& value, std::string_view origin, TokenizerSpec& spec) {
  if (value.is_null()) return {};
  return parse_step(value, fmt::format("{}: post_processor", origin), 0, spec);
}

Result<AddedToken> parse_added_token(const Json& value, uint32_t id, const std::string& where) {
  AddedToken token;
  token.id = id;
  SKVIS_TRY(token.content, json_string(value, "content", where));
  SKVIS_TRY(token.special, json_bool_or(value, "special", where, false));
  SKVIS_TRY(token.normalized, json_bool_or(value, "normalized", where, !token.special));
  SKVIS_TRY(token.lstrip, json_bool_or(value, "lstrip", where, false));
  SKVIS_TRY(token.rstrip, json_bool_or(value, "rstrip", where, false));
  SKVIS_TRY(token.single_word, json_bool_or(value, "single_word", where, false));
  return token;
}

}  // namespace skvis
