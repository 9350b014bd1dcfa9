// SPDX-License-Identifier: Apache-2.0
// POST /tokenize and POST /detokenize
#include "server/routes.hpp"
#include "text/utf8.hpp"

namespace skvis {
namespace {

// The bytes of a token: text, or a list of numbers where they are only part of a character.
Json piece_json(const Tokenizer& tokenizer, uint32_t id) {
  std::string_view piece = tokenizer.token_bytes(id);
  if (piece.empty()) piece = tokenizer.token_text(id);
  if (!find_invalid_utf8(piece)) return piece;
  Json bytes = Json::array();
  for (const char c : piece) bytes.push_back(static_cast<uint8_t>(c));
  return bytes;
}

ApiResult<Json> tokenize_json(const ServerContext& context, std::string_view body) {
  SKVIS_TRY(const TokenizeRequest request, parse_tokenize_request(body));
  if (auto error = check_tokenizer(context)) return *error;
  const Tokenizer& tokenizer = *context.engine.model().tokenizer;
  std::vector<uint32_t> ids;
  if (!request.messages.is_null()) {
    SKVIS_TRY(ids, encode_messages(context, request.messages, nullptr));
  } else {
    auto encoded = tokenizer.encode(
        request.text, {.add_special = request.add_special, .parse_special = request.parse_special});
    if (!encoded) return bad_request(encoded.error().message, "content");
    ids = std::move(*encoded);
  }
  Json tokens = Json::array();
  for (const uint32_t id : ids) {
    if (request.with_pieces) {
      tokens.push_back({{"id", id}, {"piece", piece_json(tokenizer, id)}});
    } else {
      tokens.push_back(id);
    }
  }
  return Json{{"tokens", std::move(tokens)},
              {"count", ids.size()},
              {"max_model_len", context.engine.context()}};
}

ApiResult<Json> detokenize_json(const ServerContext& context, std::string_view body) {
  SKVIS_TRY(const DetokenizeRequest request, parse_detokenize_request(body));
  if (auto error = check_tokenizer(context)) return *error;
  const Tokenizer& tokenizer = *context.engine.model().tokenizer;
  for (const uint32_t id : request.tokens) {
    if (id >= tokenizer.vocabulary_size()) {
      return bad_request(fmt::format("request: 'tokens' holds {}, expected ids below {}", id,
                                     tokenizer.vocabulary_size()),
                         "tokens");
    }
  }
  return Json{{"content", tokenizer.decode(request.tokens)}};
}

HttpResponse respond(const ApiResult<Json>& result) {
  return result ? json_response(*result) : error_response(result.error());
}

}  // namespace

HttpResponse tokenize(const ServerContext& context, std::string_view body) {
  return respond(tokenize_json(context, body));
}

HttpResponse detokenize(const ServerContext& context, std::string_view body) {
  return respond(detokenize_json(context, body));
}

}  // namespace skvis
