// SPDX-License-Identifier: Apache-2.0
#include "server/logprobs.hpp"

#include <algorithm>

#include "text/utf8.hpp"

namespace skvis {
namespace {

Json number(float logprob) {
  return std::max(logprob, -9999.0f);
}

// With U+FFFD for what is no character; special tokens by their name.
std::string readable(const Tokenizer& tokenizer, uint32_t token) {
  if (tokenizer.is_special(token)) return std::string(tokenizer.token_text(token));
  std::string text;
  Utf8Stream stream;
  stream.push(tokenizer.token_bytes(token), text);
  stream.flush(text);
  return text;
}

std::string readable_or_bytes(const Tokenizer& tokenizer, uint32_t token) {
  const std::string_view bytes = tokenizer.token_bytes(token);
  if (tokenizer.is_special(token) || !find_invalid_utf8(bytes)) return readable(tokenizer, token);
  std::string text = "bytes:";
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  return text;
}

Json bytes_json(const Tokenizer& tokenizer, uint32_t token) {
  if (tokenizer.is_special(token)) return nullptr;
  Json bytes = Json::array();
  for (const char c : tokenizer.token_bytes(token)) bytes.push_back(static_cast<uint8_t>(c));
  return bytes;
}

Json chat_entry(const Tokenizer& tokenizer, uint32_t token, float logprob) {
  return {{"token", readable(tokenizer, token)},
          {"logprob", number(logprob)},
          {"bytes", bytes_json(tokenizer, token)}};
}

}  // namespace

Json chat_logprobs(const Tokenizer& tokenizer, std::span<const TextToken> tokens) {
  Json content = Json::array();
  for (const TextToken& token : tokens) {
    if (token.ends) continue;
    Json entry = chat_entry(tokenizer, token.logprobs.token, token.logprobs.logprob);
    Json& best = entry["top_logprobs"] = Json::array();
    for (const ScoredToken& other : token.logprobs.best) {
      best.push_back(chat_entry(tokenizer, other.token, other.logprob));
    }
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json completion_logprobs(const Tokenizer& tokenizer, std::span<const TextToken> tokens) {
  Json names = Json::array();
  Json logprobs = Json::array();
  Json best = Json::array();
  Json offsets = Json::array();
  for (const TextToken& token : tokens) {
    names.push_back(readable_or_bytes(tokenizer, token.logprobs.token));
    offsets.push_back(token.characters);
    logprobs.push_back(token.scored ? number(token.logprobs.logprob) : Json(nullptr));
    if (!token.scored) {
      best.push_back(nullptr);
      continue;
    }
    // Different tokens may have one name: the first, the most probable one, keeps it.
    Json row = Json::object();
    for (const ScoredToken& other : token.logprobs.best) {
      row.emplace(readable_or_bytes(tokenizer, other.token), number(other.logprob));
    }
    row.emplace(names.back().get<std::string>(), number(token.logprobs.logprob));
    best.push_back(std::move(row));
  }
  return {{"tokens", std::move(names)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(best)},
          {"text_offset", std::move(offsets)}};
}

Json prompt_logprobs(const Tokenizer& tokenizer, std::span<const TokenLogprobs> prompt) {
  Json rows = Json::array({nullptr});
  for (const TokenLogprobs& scored : prompt) {
    Json row = Json::object();
    const auto add = [&](uint32_t token, float logprob, size_t rank) {
      row.emplace(std::to_string(token), Json{{"logprob", number(logprob)},
                                              {"rank", rank},
                                              {"decoded_token", readable(tokenizer, token)}});
    };
    add(scored.token, scored.logprob, scored.rank);
    for (size_t i = 0; i < scored.best.size(); ++i) {
      add(scored.best[i].token, scored.best[i].logprob, i + 1);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace skvis
