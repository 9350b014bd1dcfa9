// SPDX-License-Identifier: Apache-2.0
#include "formats/tokenizer_json.hpp"

#include <algorithm>
#include <unordered_map>

#include "formats/tokenizer_json_post.hpp"
#include "formats/tokenizer_json_reader.hpp"
#include "formats/tokenizer_json_steps.hpp"

namespace skvis {
namespace {

// Views into the raw tokenizer, which outlives them.
using Ids = std::unordered_map<std::string_view, uint32_t>;

Result<Ids> fill_vocabulary(const RawTokenizer& raw, std::string_view origin, TokenizerSpec& spec) {
  if (!raw.has_vocabulary) return fail("{}: 'model.vocab' is missing, expected an object", origin);
  if (raw.vocabulary.empty()) return fail("{}: 'model.vocab' is empty", origin);
  uint32_t highest = 0;
  for (const auto& [text, id] : raw.vocabulary) highest = std::max(highest, id);
  spec.tokens.resize(size_t{highest} + 1);
  spec.mergeable.resize(size_t{highest} + 1);
  Ids ids;
  ids.reserve(raw.vocabulary.size());
  for (const auto& [text, id] : raw.vocabulary) {
    if (text.size() > kMaxTokenBytes) {
      return fail("{}: model.vocab: the token with id {} has {} bytes, at most {} are allowed",
                  origin, id, text.size(), kMaxTokenBytes);
    }
    if (spec.mergeable[id]) {
      return fail("{}: model.vocab gives id {} to both '{}' and '{}'", origin, id, spec.tokens[id],
                  text);
    }
    if (const auto [it, fresh] = ids.try_emplace(text, id); !fresh) {
      return fail("{}: model.vocab gives '{}' the ids {} and {}", origin, text, it->second, id);
    }
    spec.mergeable[id] = true;
    spec.tokens[id] = text;
  }
  return ids;
}

Result<void> fill_merges(const RawTokenizer& raw, std::string_view origin, const Ids& ids,
                         TokenizerSpec& spec) {
  if (!raw.has_merges) return fail("{}: 'model.merges' is missing, expected an array", origin);
  spec.merges.reserve(raw.merges.size());
  for (const auto& pair : raw.merges) {
    const std::string& left = pair.first;  // no structured binding: Clang 14 cannot capture one
    const std::string& right = pair.second;
    const auto find = [&](std::string_view token) -> Result<uint32_t> {
      if (const auto it = ids.find(token); it != ids.end()) return it->second;
      return fail(
          "{}: model.merges[{}] ('{}' and '{}') needs the token '{}', which model.vocab lacks",
          origin, spec.merges.size(), left, right, token);
    };
    TokenMerge merge;
    SKVIS_TRY(merge.left, find(left));
    SKVIS_TRY(merge.right, find(right));
    SKVIS_TRY(merge.result, find(left + right));
    spec.merges.push_back(merge);
  }
  return {};
}

Result<void> fill_model(const Json& model, std::string_view origin, const Ids& ids,
                        TokenizerSpec& spec) {
  const std::string where = fmt::format("{}: model", origin);
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    SKVIS_TRY(const std::string text, json_string_or(model, key, where, ""));
    if (!text.empty())
      return fail("{}: '{}' is '{}', only an empty one is supported", where, key, text);
  }
  SKVIS_TRY(const double dropout, json_number_or(model, "dropout", where, 0, 1, 0));
  if (dropout > 0)
    return fail("{}: 'dropout' is {}, expected none: ids would be random", where, dropout);
  SKVIS_TRY(spec.byte_fallback, json_bool_or(model, "byte_fallback", where, false));
  SKVIS_TRY(spec.fuse_unk, json_bool_or(model, "fuse_unk", where, false));
  SKVIS_TRY(spec.ignore_merges, json_bool_or(model, "ignore_merges", where, false));
  SKVIS_TRY(const std::string unk, json_string_or(model, "unk_token", where, ""));
  if (!unk.empty()) {
    const auto it = ids.find(unk);
    if (it == ids.end())
      return fail("{}: 'unk_token' is '{}', which model.vocab lacks", where, unk);
    spec.unk = it->second;
  }
  return {};
}

// Gives an added token its id: the vocabulary's own, or one that is free.
Result<void> place_token(const AddedToken& token, const std::string& where, const Ids& ids,
                         TokenizerSpec& spec) {
  if (token.content.empty() || token.content.size() > kMaxTokenBytes) {
    return fail("{}: 'content' has {} bytes, expected 1 to {}", where, token.content.size(),
                kMaxTokenBytes);
  }
  const auto known = ids.find(token.content);
  if (known != ids.end() && known->second != token.id) {
    return fail("{}: '{}' has id {}, but elsewhere it has {}", where, token.content, token.id,
                known->second);
  }
  if (token.id >= spec.tokens.size()) {
    spec.tokens.resize(size_t{token.id} + 1);
    spec.mergeable.resize(size_t{token.id} + 1);
  }
  std::string& text = spec.tokens[token.id];
  if (!text.empty() && text != token.content) {
    return fail("{}: '{}' has id {}, which is already '{}'", where, token.content, token.id, text);
  }
  text = token.content;
  return {};
}

Result<void> fill_added_tokens(const Json& list, std::string_view origin, TokenizerSpec& spec,
                               Ids& ids) {
  if (list.is_null()) return {};
  if (!list.is_array()) {
    return fail("{}: 'added_tokens' must be an array, found {}", origin, json_type(list));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("{}: added_tokens[{}]", origin, i);
    constexpr auto kMaxId = static_cast<int64_t>(kMaxVocabulary) - 1;
    SKVIS_TRY(const int64_t id, json_int(list[i], "id", where, 0, kMaxId));
    SKVIS_TRY(AddedToken token, parse_added_token(list[i], static_cast<uint32_t>(id), where));
    SKVIS_CHECK(place_token(token, where, ids, spec));
    ids.emplace(list[i]["content"].get_ref<const std::string&>(), token.id);
    spec.added_tokens.push_back(std::move(token));
  }
  return {};
}

}  // namespace

Result<TokenizerSpec> parse_tokenizer_json(std::string_view text, std::string_view origin) {
  SKVIS_TRY(RawTokenizer raw, read_raw_tokenizer(text, origin));
  const Json& model = json_member(raw.document, "model");
  if (!model.is_object()) {
    return fail("{}: 'model' must be an object, found {}", origin, json_type(model));
  }
  // The oldest files name no type; merges make them BPE.
  SKVIS_TRY(const std::string type, json_string_or(model, "type", fmt::format("{}: model", origin),
                                                   raw.has_merges ? "BPE" : "unknown"));
  if (type != "BPE") return fail("{}: the model is '{}', only BPE is supported", origin, type);
  TokenizerSpec spec;
  SKVIS_TRY(Ids ids, fill_vocabulary(raw, origin, spec));
  SKVIS_CHECK(fill_merges(raw, origin, ids, spec));
  SKVIS_CHECK(fill_model(model, origin, ids, spec));
  SKVIS_CHECK(fill_added_tokens(json_member(raw.document, "added_tokens"), origin, spec, ids));
  SKVIS_TRY(spec.normalizer, parse_normalizer(json_member(raw.document, "normalizer"), origin));
  SKVIS_TRY(spec.pre_tokenizer,
            parse_pre_tokenizer(json_member(raw.document, "pre_tokenizer"), origin));
  SKVIS_TRY(spec.decoder, parse_decoder(json_member(raw.document, "decoder"), origin));
  spec.has_decoder = !json_member(raw.document, "decoder").is_null();
  SKVIS_CHECK(parse_post_processor(json_member(raw.document, "post_processor"), origin, spec));
  find_end_ids(spec);
  return spec;
}

}  // namespace skvis
