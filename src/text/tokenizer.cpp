// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.hpp"

#include "text/detokenizer.hpp"
#include "text/tokenizer_state.hpp"
#include "text/utf8.hpp"

namespace skvis {
namespace {

// Far beyond any context; a piece of n characters takes some 50 n bytes while it is merged.
constexpr size_t kMaxTextBytes = size_t{1} << 26;

BytePairEncoder::Vocabulary index_tokens(const TokenizerSpec& spec) {
  BytePairEncoder::Vocabulary ids;
  ids.reserve(spec.tokens.size());
  for (uint32_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.tokens[id].empty()) continue;
    const auto [it, fresh] = ids.try_emplace(spec.tokens[id], id);
    if (!fresh && !spec.mergeable[it->second] && spec.mergeable[id]) it->second = id;
  }
  return ids;
}

Result<void> check_ids(const TokenizerSpec& spec) {
  const size_t size = spec.tokens.size();
  if (size == 0 || size > kMaxVocabulary) {
    return fail("tokenizer: {} tokens, expected 1 to {}", size, kMaxVocabulary);
  }
  const bool by_score = spec.model == MergeModel::kScores;
  if (spec.mergeable.size() != size || spec.scores.size() != (by_score ? size : 0)) {
    return fail("tokenizer: lists of {} scores and {} marks for {} tokens", spec.scores.size(),
                spec.mergeable.size(), size);
  }
  const auto check = [&](uint32_t id, std::string_view what) -> Result<void> {
    if (id < size) return {};
    return fail("tokenizer: {} has id {}, but there are {} tokens", what, id, size);
  };
  for (const TokenMerge& merge : spec.merges) {
    SKVIS_CHECK(check(merge.left, "a merge"));
    SKVIS_CHECK(check(merge.right, "a merge"));
    SKVIS_CHECK(check(merge.result, "a merge"));
  }
  for (const AddedToken& token : spec.added_tokens) SKVIS_CHECK(check(token.id, "an added token"));
  for (const uint32_t id : spec.prefix) SKVIS_CHECK(check(id, "the prefix"));
  for (const uint32_t id : spec.suffix) SKVIS_CHECK(check(id, "the suffix"));
  if (spec.unk) SKVIS_CHECK(check(*spec.unk, "the unknown token"));
  for (size_t id = 0; id < size; ++id) {
    if (find_invalid_utf8(spec.tokens[id])) return fail("tokenizer: token {} is not UTF-8", id);
  }
  return {};
}

}  // namespace

Tokenizer::State::State(TokenizerSpec made_from, Normalizer norm, PreTokenizer pre,
                        TokenBytes token_bytes)
    : spec(std::move(made_from)),
      ids(index_tokens(spec)),
      special(spec.tokens.size()),
      normalizer(std::move(norm)),
      pre_tokenizer(std::move(pre)),
      bytes(std::move(token_bytes)),
      encoder(spec, ids) {}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::create(TokenizerSpec spec) {
  SKVIS_CHECK(check_ids(spec));
  SKVIS_TRY(Normalizer normalizer, Normalizer::create(spec.normalizer));
  SKVIS_TRY(PreTokenizer pre_tokenizer, PreTokenizer::create(spec.pre_tokenizer));
  SKVIS_TRY(TokenBytes bytes, TokenBytes::create(spec));
  auto state = std::make_unique<State>(std::move(spec), std::move(normalizer),
                                       std::move(pre_tokenizer), std::move(bytes));
  for (const AddedToken& token : state->spec.added_tokens) {
    if (token.special) state->special[token.id] = true;
    if (token.normalized && !state->normalizer.empty()) {
      SKVIS_TRY(const std::string form, state->normalizer.apply(token.content));
      state->normalized_tokens.add(token, form);
    } else if (token.normalized) {
      state->normalized_tokens.add(token, token.content);
    } else {
      state->raw_tokens.add(token, token.content);
    }
  }
  return Tokenizer(std::move(state));
}

// A text without raw added tokens: normalized, cut at the others, merged.
Result<void> Tokenizer::State::encode_plain(std::string_view text, bool at_start,
                                            bool parse_special, BytePairEncoder::Workspace& work,
                                            std::vector<uint32_t>& ids) const {
  SKVIS_TRY(const std::string normalized, normalizer.apply(text));
  std::vector<TextPart> parts;
  normalized_tokens.split(normalized, parse_special, parts);
  for (const auto& [range, token] : parts) {
    if (token) {
      ids.push_back(*token);
      continue;
    }
    SKVIS_TRY(const Pieces pieces,
              pre_tokenizer.apply(normalized.substr(range.begin, range.end - range.begin),
                                  at_start && range.begin == 0));
    for (const TextRange piece : pieces.ranges) {
      encoder.encode(std::string_view(pieces.text).substr(piece.begin, piece.end - piece.begin),
                     work, ids);
    }
  }
  return {};
}

Result<std::vector<uint32_t>> Tokenizer::encode(std::string_view text,
                                                EncodeOptions options) const {
  const State& state = *state_;
  if (text.size() > kMaxTextBytes) {
    return fail("text of {} bytes, at most {} can be encoded at once", text.size(), kMaxTextBytes);
  }
  if (const auto at = find_invalid_utf8(text)) {
    return fail("text is not UTF-8: byte {} (0x{:02x}) belongs to no character", *at,
                static_cast<uint8_t>(text[*at]));
  }
  std::vector<uint32_t> ids;
  if (options.add_special) ids = state.spec.prefix;
  BytePairEncoder::Workspace work;
  std::vector<TextPart> parts;
  state.raw_tokens.split(text, options.parse_special, parts);
  for (const auto& [range, token] : parts) {
    if (token) {
      ids.push_back(*token);
    } else {
      SKVIS_CHECK(state.encode_plain(text.substr(range.begin, range.end - range.begin),
                                     range.begin == 0, options.parse_special, work, ids));
    }
  }
  if (options.add_special) {
    ids.insert(ids.end(), state.spec.suffix.begin(), state.spec.suffix.end());
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const uint32_t> ids, DecodeOptions options) const {
  Detokenizer detokenizer(*this, options);
  std::string text;
  for (const uint32_t id : ids) text += detokenizer.push(id);
  text += detokenizer.flush();
  return text;
}

std::string_view Tokenizer::token_bytes(uint32_t id) const {
  return state_->bytes.of(id);
}

std::string_view Tokenizer::separator() const {
  return state_->bytes.separator();
}

std::string_view Tokenizer::token_text(uint32_t id) const {
  return state_->exists(id) ? std::string_view(state_->spec.tokens[id]) : std::string_view();
}

std::optional<uint32_t> Tokenizer::find(std::string_view token) const {
  const auto it = state_->ids.find(token);
  if (it == state_->ids.end()) return std::nullopt;
  return it->second;
}

size_t Tokenizer::vocabulary_size() const {
  return state_->spec.tokens.size();
}

bool Tokenizer::is_special(uint32_t id) const {
  return id < state_->special.size() && state_->special[id];
}

std::optional<uint32_t> Tokenizer::bos() const {
  return state_->spec.bos;
}
std::optional<uint32_t> Tokenizer::eos() const {
  return state_->spec.eos;
}
const std::vector<uint32_t>& Tokenizer::end_ids() const {
  return state_->spec.end_ids;
}

}  // namespace skvis
