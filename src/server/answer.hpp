// SPDX-License-Identifier: Apache-2.0
// From a checked request to what the engine is asked, and from what it answers to JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.hpp"
#include "engine/generation.hpp"
#include "server/api_error.hpp"
#include "server/request.hpp"

namespace skvis {

// What the routes know about this server. Only reads the engine, and only what does not change
// while it works, so that any thread may use it.
struct ServerContext {
  const Engine& engine;
  std::string model_id;
  uint32_t default_max_tokens = 1024;
  std::time_t started = 0;
  std::shared_ptr<GrammarStore> grammars = nullptr;  // the router makes one where there is none
};

// Figures of one or several generations.
struct Usage {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t cached_tokens = 0;
  size_t kv_bytes = 0;       // pages at the end
  size_t kv_bytes_rows = 0;  // what lies in them
  size_t kv_bytes_full = 0;  // what the full cache would hold
  size_t rows_held = 0;
  size_t rows_seen = 0;
  size_t heads = 0;
  uint64_t prompt_read = 0;  // tokens, by every generation that read them
  double prompt_seconds = 0;
  double decode_seconds = 0;

  // A prompt with several answers counts once.
  void add(const GenerationResult& result);
};
// The `usage` object. Its extension `kv`: bytes of pages and of the rows in them, bytes of rows of
// the full cache, and tokens kept (the mean over heads, which keep different numbers) of those
// seen.
Json usage_json(const Usage& usage);
// llama.cpp's `timings`: tokens from the cache, tokens read, tokens generated, their milliseconds
// and their rates.
Json timings_json(const Usage& usage);

std::string_view finish_name(FinishReason reason);

// What all objects of one answer have in common.
struct AnswerHead {
  std::string id;
  std::string model;
  std::string fingerprint;  // of program, model and plan
  std::time_t created = 0;
};

// Where the tokens of a stream's choices come from; all empty where nobody asks for logprobs.
using TokenQueues = std::vector<std::shared_ptr<TextTokenQueue>>;

// How a route writes its answers. One object per request: id and time are the same in all chunks.
// Pieces of a choice must be written in their order, each once: log-probabilities go with them.
class AnswerFormat {
 public:
  // `tokenizer` outlives the format.
  AnswerFormat(AnswerHead head, const Tokenizer& tokenizer, TokenQueues queues)
      : tokenizer_(tokenizer), head_(std::move(head)), queues_(std::move(queues)) {}
  virtual ~AnswerFormat() = default;

  // Chunks of a stream, for choice `index`. `first` may be null: the route has no such chunk.
  virtual Json first(size_t index) const = 0;
  virtual Json piece(size_t index, std::string_view text) const = 0;
  virtual Json last(size_t index, FinishReason reason) const = 0;
  virtual Json usage(const Usage& usage) const = 0;
  // The answer in one object; results by choice.
  virtual Json whole(std::span<const GenerationResult> results, const Usage& usage) const = 0;

 protected:
  // {id, object, created, model, system_fingerprint, choices}
  Json envelope(std::string_view object, Json choices) const;
  // The last object of an answer.
  Json with_usage(Json object, const Usage& usage) const;
  // The tokens that belong to the next `bytes` of a choice's text, and those left at its end.
  std::vector<TextToken> tokens_of(size_t index, size_t bytes) const;
  std::vector<TextToken> last_tokens(size_t index) const;

  const Tokenizer& tokenizer_;

 private:
  AnswerHead head_;
  TokenQueues queues_;
};

// A request ready to run: its generations follow one another, each is one choice.
struct AnswerJob {
  std::shared_ptr<const AnswerFormat> format;
  std::vector<GenerationRequest> generations;
  bool stream = false;
  bool include_usage = false;
  size_t kv_heads = 0;                                  // over all layers: what rows are divided by
  std::optional<std::chrono::milliseconds> keep_alive;  // the server's, if not said; 0: no comments
  QueueOptions queue;
  std::string client;  // who asks: key and user
};

// Errors: a model that is not served here; no tokenizer; a prompt that is empty, longer than the
// context, too large for the KV memory, or holds ids outside the vocabulary; more answers or
// log-probabilities than one request may ask for.
ApiResult<AnswerJob> prepare_chat(const ServerContext& context, const ChatRequest& request);
ApiResult<AnswerJob> prepare_completion(const ServerContext& context,
                                        const CompletionRequest& request);

// Shared by the routes.
std::optional<ApiError> check_model(const ServerContext& context, const std::string& asked);
std::optional<ApiError> check_tokenizer(const ServerContext& context);

// Makes the generations of one request: what all of them share is checked and made once.
class GenerationMaker {
 public:
  // Both outlive it. With `echo` an answer's text begins with its prompt.
  static ApiResult<GenerationMaker> create(const ServerContext& context,
                                           const AnswerOptions& options, bool echo);
  // `field` holds the prompt.
  ApiResult<GenerationRequest> make(std::vector<uint32_t> prompt, std::string_view field) const;

 private:
  GenerationMaker(const ServerContext& context, const AnswerOptions& options, bool echo)
      : context_(context), options_(options), echo_(echo) {}

  const ServerContext& context_;
  const AnswerOptions& options_;
  bool echo_;
  std::shared_ptr<const TokenRules> rules_;
  std::shared_ptr<TokenAutomaton> grammar_;
};
// All answers to one prompt, with seeds that follow one another.
void add_choices(const AnswerOptions& options, GenerationRequest generation, AnswerJob& job);
// Refuses a job whose log-probabilities would take too much memory.
std::optional<ApiError> check_logprobs(const AnswerJob& job);
AnswerHead answer_head(const ServerContext& context, std::string_view id_prefix);
TokenQueues queues_of(const AnswerJob& job);
// The tokens of a conversation, the beginning of the answer included.
ApiResult<std::vector<uint32_t>> encode_messages(const ServerContext& context, const Json& messages,
                                                 const Json& template_variables);

// Log-probabilities of one answer: some hundred bytes each, until it is written.
inline constexpr size_t kMaxLogprobs = size_t{1} << 20;

}  // namespace skvis
