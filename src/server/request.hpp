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

namespace skvis {

// What both completion routes take.
struct AnswerOptions {
  std::string model;  // empty: not said
  bool stream = false;
  bool include_usage = false;
  std::optional<uint32_t> max_tokens;
  SamplingRequest sampling;
  std::vector<std::string> stop;
  bool ignore_end = false;
  std::optional<int64_t>
      sse_ping_interval;  // seconds between comments in a silent stream; -1: none
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

inline constexpr size_t kMaxStops = 16;
inline constexpr size_t kMaxStopBytes = 4096;
inline constexpr size_t kMaxPrompts = 1024;

}  // namespace skvis
