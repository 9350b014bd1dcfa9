// SPDX-License-Identifier: Apache-2.0
// tokenizer_config.json, and the folder that holds both files.
#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>

#include "base/file.hpp"
#include "base/log.hpp"
#include "formats/tokenizer_json.hpp"
#include "formats/tokenizer_json_post.hpp"
#include "formats/tokenizer_json_steps.hpp"

namespace skvis {
namespace {

constexpr size_t kMaxTokenizerFile = size_t{1} << 27;
constexpr size_t kMaxConfigFile = size_t{1} << 24;

// A token named by its text, or by an object with "content"; nothing where it is missing or null.
Result<std::optional<uint32_t>> named_token(const Json& config, std::string_view key,
                                            std::string_view origin, const TokenizerSpec& spec) {
  const Json& value = json_member(config, key);
  if (value.is_null()) return std::optional<uint32_t>();
  const Json& text = value.is_object() ? json_member(value, "content") : value;
  if (!text.is_string()) {
    return fail("{}: '{}' must be a token or null, found {}", origin, key, json_type(value));
  }
  const auto& name = text.get_ref<const std::string&>();
  const auto it = std::find(spec.tokens.begin(), spec.tokens.end(), name);
  if (name.empty() || it == spec.tokens.end()) {
    spdlog::warn("{}: '{}' is '{}', which the tokenizer does not have: ignored", origin, key, name);
    return std::optional<uint32_t>();
  }
  return std::optional<uint32_t>(static_cast<uint32_t>(it - spec.tokens.begin()));
}

// Tokens that only the configuration knows.
Result<void> add_missing_tokens(const Json& config, std::string_view origin, TokenizerSpec& spec) {
  const Json& list = json_member(config, "added_tokens_decoder");
  if (list.is_null()) return {};
  if (!list.is_object()) {
    return fail("{}: 'added_tokens_decoder' must be an object, found {}", origin, json_type(list));
  }
  std::unordered_map<std::string, bool> known;  // text to: is an added token
  for (const std::string& text : spec.tokens) known.emplace(text, false);
  for (const AddedToken& token : spec.added_tokens) known[token.content] = true;
  for (const auto& [key, value] : list.items()) {
    const std::string where = fmt::format("{}: added_tokens_decoder['{}']", origin, key);
    uint32_t id = 0;
    const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (problem != std::errc() || end != key.data() + key.size() || id >= kMaxVocabulary) {
      return fail("{}: the key must be a token id below {}", where, kMaxVocabulary);
    }
    SKVIS_TRY(AddedToken token, parse_added_token(value, id, where));
    const auto it = known.find(token.content);
    if (it != known.end() && it->second) continue;  // tokenizer.json decides
    const bool has_text = id < spec.tokens.size() && !spec.tokens[id].empty();
    if (token.content.empty() || token.content.size() > kMaxTokenBytes ||
        (has_text && spec.tokens[id] != token.content) || (!has_text && it != known.end())) {
      return fail("{}: '{}' contradicts tokenizer.json", where, token.content);
    }
    if (id >= spec.tokens.size()) {
      spec.tokens.resize(size_t{id} + 1);
      spec.mergeable.resize(size_t{id} + 1);
    }
    spec.tokens[id] = token.content;
    known[token.content] = true;
    spec.added_tokens.push_back(std::move(token));
  }
  return {};
}

// "add_bos_token" speaks about the token itself, wherever the template had put it or not.
Result<void> apply_switch(const Json& config, std::string_view key, std::string_view origin,
                          std::optional<uint32_t> token, bool at_front,
                          std::vector<uint32_t>& ids) {
  if (json_member(config, key).is_null()) return {};
  SKVIS_TRY(const bool wanted, json_bool_or(config, key, origin, false));
  if (!token) {
    if (wanted) return fail("{}: '{}' is true, but no such token is named", origin, key);
    return {};
  }
  const bool there = !ids.empty() && (at_front ? ids.front() : ids.back()) == *token;
  if (wanted && !there) ids.insert(at_front ? ids.begin() : ids.end(), *token);
  if (!wanted && there) ids.erase(at_front ? ids.begin() : ids.end() - 1);
  return {};
}

}  // namespace

Result<void> apply_tokenizer_config(const Json& config, std::string_view origin,
                                    TokenizerSpec& spec) {
  if (!config.is_object()) {
    return fail("{}: expected an object, found {}", origin, json_type(config));
  }
  SKVIS_CHECK(add_missing_tokens(config, origin, spec));
  SKVIS_TRY(const auto bos, named_token(config, "bos_token", origin, spec));
  SKVIS_TRY(const auto eos, named_token(config, "eos_token", origin, spec));
  if (bos) spec.bos = bos;
  if (eos) spec.eos = eos;
  SKVIS_CHECK(apply_switch(config, "add_bos_token", origin, spec.bos, true, spec.prefix));
  SKVIS_CHECK(apply_switch(config, "add_eos_token", origin, spec.eos, false, spec.suffix));
  find_end_ids(spec);
  return {};
}

Result<TokenizerSpec> read_tokenizer_folder(const std::filesystem::path& folder) {
  const auto tokenizer_path = folder / "tokenizer.json";
  const auto config_path = folder / "tokenizer_config.json";
  SKVIS_TRY(const std::string text, read_file(tokenizer_path, kMaxTokenizerFile));
  SKVIS_TRY(TokenizerSpec spec, parse_tokenizer_json(text, tokenizer_path.string()));
  std::error_code ignored;
  if (!std::filesystem::exists(config_path, ignored)) return spec;
  SKVIS_TRY(const std::string config_text, read_file(config_path, kMaxConfigFile));
  SKVIS_TRY(const Json config, parse_json(config_text, config_path.string()));
  SKVIS_CHECK(apply_tokenizer_config(config, config_path.string(), spec));
  return spec;
}

}  // namespace skvis
