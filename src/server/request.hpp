// SPDX-License-Identifier: Apache-2.0
// The bodies of requests, checked. Unknown fields are ignored. A known field of a wrong type, or
// one whose wish cannot be fulfilled here, is refused by name: an answer that silently left it out
// would be another answer than the one that was asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/sampler.hpp"
#include "server/api_error.hpp"
#include "server/grammars.hpp"

namespace skvis {

// How a request stands among others.
struct QueueOptions {
  std::string salt;               // shares what was read with requests of the same salt only
  std::string user;               // whose share of the server it uses, within its key's
  int64_t priority = 0;           // lower ones first, as in vLLM
  std::optional<double> timeout;  // seconds from its arrival; then it ends with what there is
};

// What both completion routes take.
struct AnswerOptions {
  std::string model;  // empty: not said
  bool stream = false;
  bool include_usage = false;
  std::optional<uint32_t> max_tokens;  // 0 in completions only
  uint32_t choices = 1;                // answers to each prompt
  SamplingRequest sampling;
  std::vector<std::pair<uint32_t, float>> biases;  // of tokens, from -100 to 100
  std::vector<uint32_t> allowed;                   // tokens; empty: all
  std::vector<std::string> bad_words;
  std::vector<std::string> stop;
  std::vector<uint32_t> stop_tokens;
  bool show_stop = false;
  uint32_t min_tokens = 0;
  bool ignore_end = false;
  // Seconds between comments in a silent stream; -1: none.
  std::optional<int64_t> sse_ping_interval;
  std::optional<uint32_t> logprobs;         // of the answer's tokens, beside so many best ones
  std::optional<uint32_t> prompt_logprobs;  // of the prompt's, in a part of their own
  WantedGrammar grammar;
  QueueOptions queue;
};

struct ChatRequest {
  AnswerOptions options;
  Json messages;            // [{role, content: string, ...}] as chat templates expect them
  Json template_variables;  // chat_template_kwargs, or null
};

using PromptInput = std::variant<std::string, std::vector<uint32_t>>;

struct CompletionRequest {
  AnswerOptions options;
  std::vector<PromptInput> prompts;  // at least one
  bool echo = false;
};

struct TokenizeRequest {
  std::string text;
  Json messages;  // null, or what to render instead of the text
  bool add_special = false;
  bool parse_special = true;
  bool with_pieces = false;
};

struct DetokenizeRequest {
  std::vector<uint32_t> tokens;
};

ApiResult<ChatRequest> parse_chat_request(std::string_view body);
ApiResult<CompletionRequest> parse_completion_request(std::string_view body);
ApiResult<TokenizeRequest> parse_tokenize_request(std::string_view body);
ApiResult<DetokenizeRequest> parse_detokenize_request(std::string_view body);

inline constexpr size_t kMaxNameBytes = 256;  // of salts and users
inline constexpr size_t kMaxStops = 16;
inline constexpr size_t kMaxStopBytes = 4096;
inline constexpr size_t kMaxStopTokens = 1024;
inline constexpr size_t kMaxBadWords = 256;
inline constexpr size_t kMaxPrompts = 1024;
inline constexpr uint32_t kMaxChoices = 16;

}  // namespace skvis
