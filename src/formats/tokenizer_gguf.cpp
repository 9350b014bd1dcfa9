// SPDX-License-Identifier: Apache-2.0
// Keys and token types: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Patterns: those
// of the models' own tokenizer.json, as far as GGUF's names stand for them.
#include "formats/tokenizer_gguf.hpp"

#include <array>
#include <cmath>
#include <unordered_map>

#include "formats/gguf.hpp"

namespace skvis {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

enum TokenType : int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// What a name in tokenizer.ggml.pre stands for.
struct PreTokenizerName {
  std::string_view name;
  enum class Kind { kGpt2, kLlama3, kQwen2, kSmollm, kDefault } kind;
};
using Kind = PreTokenizerName::Kind;
constexpr std::array<PreTokenizerName, 8> kPreTokenizers = {{{"gpt-2", Kind::kGpt2},
                                                             {"llama-bpe", Kind::kLlama3},
                                                             {"llama3", Kind::kLlama3},
                                                             {"llama-v3", Kind::kLlama3},
                                                             {"qwen2", Kind::kQwen2},
                                                             {"deepseek-r1-qwen", Kind::kQwen2},
                                                             {"smollm", Kind::kSmollm},
                                                             {"default", Kind::kDefault}}};

SplitPieces isolate(std::string_view regex) {
  return {{std::string(regex), true}, SplitBehavior::kIsolated, false};
}

void set_pre_tokenizer(Kind kind, TokenizerSpec& spec) {
  auto& steps = spec.pre_tokenizer;
  bool use_gpt2_regex = false;
  switch (kind) {
    case Kind::kGpt2:
      use_gpt2_regex = true;
      break;
    case Kind::kSmollm:
      steps.emplace_back(isolate("\\p{N}"));
      use_gpt2_regex = true;
      break;
    case Kind::kLlama3:
      steps.emplace_back(
          isolate(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
                  R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"));
      spec.ignore_merges = true;
      break;
    case Kind::kQwen2:
      steps.emplace_back(isolate(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
                                 R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"));
      // The models of this family are trained on NFC text; their tokenizer.json says so.
      spec.normalizer.emplace_back(UnicodeForm::kNfc);
      break;
    case Kind::kDefault:
      steps.emplace_back(isolate(R"([\p{P}\$\+<=>\^~\|]+)"));
      steps.emplace_back(
          isolate(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))"));
      steps.emplace_back(isolate(R"(\p{N}+)"));
      steps.emplace_back(isolate("[0-9][0-9][0-9]"));
      break;
  }
  steps.emplace_back(SpellBytes{false, use_gpt2_regex});
}

Result<Kind> find_pre_tokenizer(const GgufFile& gguf) {
  SKVIS_TRY(const std::string_view name, gguf.string_or("tokenizer.ggml.pre", "default"));
  std::string names;
  for (const PreTokenizerName& known : kPreTokenizers) {
    if (known.name == name) return known.kind;
    names += names.empty() ? "" : ", ";
    names += known.name;
  }
  return fail("{}: tokenizer.ggml.pre is '{}', expected one of {}", gguf.origin(), name, names);
}

Result<void> read_tokens(const GgufFile& gguf, TokenizerSpec& spec) {
  SKVIS_TRY(const auto tokens, gguf.strings("tokenizer.ggml.tokens"));
  if (tokens.empty() || tokens.size() > kMaxVocabulary) {
    return fail("{}: tokenizer.ggml.tokens has {} tokens, expected 1 to {}", gguf.origin(),
                tokens.size(), kMaxVocabulary);
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].size() > kMaxTokenBytes) {
      return fail("{}: tokenizer.ggml.tokens[{}] has {} bytes, at most {} are allowed",
                  gguf.origin(), id, tokens[id].size(), kMaxTokenBytes);
    }
    spec.tokens.emplace_back(tokens[id]);
  }
  std::vector<int64_t> types(tokens.size(), kNormal);
  if (gguf.has("tokenizer.ggml.token_type")) {
    SKVIS_TRY(types, gguf.integers("tokenizer.ggml.token_type"));
  }
  if (types.size() != tokens.size()) {
    return fail("{}: tokenizer.ggml.token_type has {} entries for {} tokens", gguf.origin(),
                types.size(), tokens.size());
  }
  spec.mergeable.resize(tokens.size());
  for (uint32_t id = 0; id < types.size(); ++id) {
    spec.mergeable[id] = types[id] == kNormal;
    const bool special = types[id] == kControl || types[id] == kUnknown;
    if ((special || types[id] == kUserDefined) && !spec.tokens[id].empty()) {
      spec.added_tokens.push_back({.id = id, .content = spec.tokens[id], .special = special});
    }
  }
  return {};
}

Result<void> read_merges(const GgufFile& gguf, TokenizerSpec& spec) {
  SKVIS_TRY(const auto merges, gguf.strings("tokenizer.ggml.merges"));
  if (merges.size() > kMaxMerges) {
    return fail("{}: tokenizer.ggml.merges has {} entries, at most {} are allowed", gguf.origin(),
                merges.size(), kMaxMerges);
  }
  std::unordered_map<std::string_view, uint32_t> ids;
  for (uint32_t id = 0; id < spec.tokens.size(); ++id) {
    if (!spec.mergeable[id]) continue;
    const auto [it, fresh] = ids.try_emplace(spec.tokens[id], id);
    if (!fresh) {
      return fail("{}: tokenizer.ggml.tokens[{}] and [{}] are both '{}'", gguf.origin(), it->second,
                  id, spec.tokens[id]);
    }
  }
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    // A token may begin with a space nowhere in the alphabet of bytes: the first space divides.
    const size_t space = merges[i].find(' ', 1);
    if (space == std::string_view::npos) {
      return fail("{}: tokenizer.ggml.merges[{}] is '{}', expected two tokens", gguf.origin(), i,
                  merges[i]);
    }
    const std::string_view left = merges[i].substr(0, space);
    const std::string_view right = merges[i].substr(space + 1);
    joined = left;
    joined += right;
    TokenMerge merge;
    for (const auto& [text, id] : {std::pair<std::string_view, uint32_t*>{left, &merge.left},
                                   {right, &merge.right},
                                   {joined, &merge.result}}) {
      const auto it = ids.find(text);
      if (it == ids.end()) {
        return fail("{}: tokenizer.ggml.merges[{}] ('{}') needs the token '{}', which is not there",
                    gguf.origin(), i, merges[i], text);
      }
      *id = it->second;
    }
    spec.merges.push_back(merge);
  }
  return {};
}

Result<void> read_scores(const GgufFile& gguf, TokenizerSpec& spec) {
  SKVIS_TRY(const auto scores, gguf.numbers("tokenizer.ggml.scores"));
  if (scores.size() != spec.tokens.size()) {
    return fail("{}: tokenizer.ggml.scores has {} entries for {} tokens", gguf.origin(),
                scores.size(), spec.tokens.size());
  }
  for (size_t id = 0; id < scores.size(); ++id) {
    if (std::isnan(scores[id])) {
      return fail("{}: tokenizer.ggml.scores[{}] is not a number", gguf.origin(), id);
    }
    spec.scores.push_back(static_cast<float>(scores[id]));
  }
  return {};
}

Result<std::optional<uint32_t>> read_id(const GgufFile& gguf, std::string_view key, size_t tokens) {
  if (!gguf.has(key)) return std::optional<uint32_t>();
  SKVIS_TRY(const int64_t id, gguf.integer(key, 0, UINT32_MAX));
  if (static_cast<size_t>(id) >= tokens) {
    return fail("{}: {} is {}, but there are {} tokens", gguf.origin(), key, id, tokens);
  }
  return std::optional<uint32_t>(static_cast<uint32_t>(id));
}

Result<void> read_special_ids(const GgufFile& gguf, bool adds_bos, TokenizerSpec& spec) {
  const size_t count = spec.tokens.size();
  SKVIS_TRY(spec.bos, read_id(gguf, "tokenizer.ggml.bos_token_id", count));
  SKVIS_TRY(spec.eos, read_id(gguf, "tokenizer.ggml.eos_token_id", count));
  for (const std::string_view key :
       {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    SKVIS_TRY(const auto id, read_id(gguf, key, count));
    if (id) spec.end_ids.push_back(*id);
  }
  SKVIS_TRY(const bool bos, gguf.boolean_or("tokenizer.ggml.add_bos_token", adds_bos));
  SKVIS_TRY(const bool eos, gguf.boolean_or("tokenizer.ggml.add_eos_token", false));
  if (bos && spec.bos) spec.prefix.push_back(*spec.bos);
  if (eos && spec.eos) spec.suffix.push_back(*spec.eos);
  find_end_ids(spec);
  return {};
}

// SentencePiece as Llama's conversion leaves it: a space is U+2581, and one stands before the text.
Result<void> read_sentencepiece(const GgufFile& gguf, TokenizerSpec& spec) {
  spec.model = MergeModel::kScores;
  spec.byte_fallback = true;
  SKVIS_CHECK(read_scores(gguf, spec));
  SKVIS_TRY(spec.unk, read_id(gguf, "tokenizer.ggml.unknown_token_id", spec.tokens.size()));
  SKVIS_TRY(const bool prefix, gguf.boolean_or("tokenizer.ggml.add_space_prefix", true));
  const std::string mark(kSpaceMark);
  if (prefix) spec.normalizer.emplace_back(PrependText{mark});
  spec.normalizer.emplace_back(ReplaceText{{" ", false}, mark});
  spec.decoder = {ReplaceText{{mark, false}, " "}, DecodeFallback{}, FuseTokens{}};
  if (prefix) spec.decoder.emplace_back(StripEnds{" ", 1, 0});
  return {};
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_gguf(const GgufFile& gguf) {
  TokenizerSpec spec;
  SKVIS_TRY(const std::string_view model, gguf.string("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama") {
    return fail("{}: tokenizer.ggml.model is '{}', expected gpt2 or llama", gguf.origin(), model);
  }
  SKVIS_CHECK(read_tokens(gguf, spec));
  bool adds_bos = true;
  if (model == "gpt2") {
    SKVIS_TRY(const Kind kind, find_pre_tokenizer(gguf));
    SKVIS_CHECK(read_merges(gguf, spec));
    set_pre_tokenizer(kind, spec);
    spec.decoder = {DecodeBytes{}};
    adds_bos = kind == Kind::kLlama3;
  } else {
    SKVIS_CHECK(read_sentencepiece(gguf, spec));
  }
  SKVIS_CHECK(read_special_ids(gguf, adds_bos, spec));
  return spec;
}

}  // namespace skvis
