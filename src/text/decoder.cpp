// SPDX-License-Identifier: Apache-2.0
#include "text/decoder.hpp"

#include <algorithm>
#include <optional>
#include <variant>

#include "text/byte_alphabet.hpp"
#include "text/normalizer.hpp"

namespace skvis {
namespace {

constexpr size_t kMaxDecodedBytes = size_t{1} << 28;  // of all tokens together

std::optional<uint8_t> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<uint8_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<uint8_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<uint8_t>(c - 'A' + 10);
  return std::nullopt;
}

// "<0xE4>" is the byte e4; anything else is itself.
std::string read_fallback(std::string text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return text;
  const auto high = hex_digit(text[3]);
  const auto low = hex_digit(text[4]);
  if (!high || !low) return text;
  return std::string(1, static_cast<char>(*high << 4 | *low));
}

std::string strip(std::string text, const StripEnds& step) {
  std::string_view rest = text;
  if (step.content.empty()) return text;
  for (size_t i = 0; i < step.start && rest.starts_with(step.content); ++i) {
    rest.remove_prefix(step.content.size());
  }
  for (size_t i = 0; i < step.stop && rest.ends_with(step.content); ++i) {
    rest.remove_suffix(step.content.size());
  }
  return std::string(rest);
}

// The steps that work on each token, with patterns compiled.
using TokenStep = std::variant<Replacer, DecodeBytes, DecodeFallback, StripEnds>;

Result<std::string> decode_token(const std::vector<TokenStep>& steps, std::string_view token) {
  std::string text(token);
  for (const TokenStep& step : steps) {
    if (const auto* replacer = std::get_if<Replacer>(&step)) {
      SKVIS_TRY(text, replacer->apply(text, kMaxDecodedBytes));
    } else if (std::holds_alternative<DecodeBytes>(step)) {
      if (auto bytes = spell_out_bytes(text)) text = std::move(*bytes);
    } else if (std::holds_alternative<DecodeFallback>(step)) {
      text = read_fallback(std::move(text));
    } else {
      text = strip(std::move(text), std::get<StripEnds>(step));
    }
  }
  return text;
}

// Once a step has made bytes of a token, it is no text that another could search or spell.
bool makes_bytes(const DecoderStep& step) {
  return std::holds_alternative<DecodeBytes>(step) || std::holds_alternative<DecodeFallback>(step);
}

}  // namespace

Result<TokenBytes> TokenBytes::create(const TokenizerSpec& spec) {
  TokenBytes made;
  std::vector<TokenStep> steps;
  bool fused = false;
  bool bytes = false;
  for (const DecoderStep& step : spec.decoder) {
    if (std::holds_alternative<FuseTokens>(step)) {
      fused = true;
    } else if (const auto* ends = std::get_if<StripEnds>(&step); ends != nullptr && fused) {
      if (ends->stop > 0) {
        return fail("decoder: Strip with stop {} after Fuse cannot be streamed, expected 0",
                    ends->stop);
      }
      if (ends->content.size() != 1 || made.strip_start_ > 0) {
        return fail("decoder: Strip after Fuse must be one step of one ASCII character, found '{}'",
                    ends->content);
      }
      made.strip_character_ = ends->content[0];
      made.strip_start_ = ends->start;
    } else if (const auto* replace = std::get_if<ReplaceText>(&step)) {
      if (fused || bytes) {
        return fail("decoder: Replace must stand before ByteLevel, ByteFallback and Fuse");
      }
      if (replace->pattern.is_regex) {
        return fail(
            "decoder: Replace by the regular expression '{}' is not supported, only by text",
            replace->pattern.text);
      }
      SKVIS_TRY(Replacer replacer, Replacer::create(*replace));
      steps.emplace_back(std::move(replacer));
    } else if (ends != nullptr) {
      steps.emplace_back(*ends);
    } else if (std::holds_alternative<DecodeBytes>(step)) {
      if (bytes) return fail("decoder: ByteLevel must not follow ByteLevel or ByteFallback");
      steps.emplace_back(DecodeBytes{});
    } else {
      steps.emplace_back(DecodeFallback{});
    }
    bytes = bytes || makes_bytes(step);
  }
  if (!spec.has_decoder) made.separator_ = " ";
  std::vector<bool> added(spec.tokens.size());
  for (const AddedToken& token : spec.added_tokens) added[token.id] = true;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (added[id]) {
      made.bytes_ += spec.tokens[id];
    } else {
      SKVIS_TRY(const std::string text, decode_token(steps, spec.tokens[id]));
      made.bytes_ += text;
    }
    if (made.bytes_.size() > kMaxDecodedBytes) {
      return fail("decoder: the vocabulary decodes to more than {} bytes", kMaxDecodedBytes);
    }
    made.ends_.push_back(made.bytes_.size());
  }
  return made;
}

}  // namespace skvis
