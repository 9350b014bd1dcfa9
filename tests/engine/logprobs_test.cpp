// SPDX-License-Identifier: Apache-2.0
// Log-probabilities against the logits they come from, and in step with the text.
#include "engine/logprobs.hpp"

#include "engine/engine_testing.hpp"
#include "engine/scheduler.hpp"

namespace skvis::testing {
namespace {

TEST(logprobs, are_those_of_the_softmax) {
  // Probabilities 0.1, 0.6, 0.2, 0.1, times a constant.
  const std::vector<float> logits = {std::log(2.0f), std::log(12.0f), std::log(4.0f),
                                     std::log(2.0f)};
  const TokenLogprobs scored = logprobs_of(logits, 2, 3);
  EXPECT_EQ(scored.token, 2u);
  EXPECT_NEAR(scored.logprob, std::log(0.2), 1e-6);
  EXPECT_EQ(scored.rank, 2u);
  ASSERT_EQ(scored.best.size(), 3u);
  EXPECT_EQ(scored.best[0].token, 1u);
  EXPECT_NEAR(scored.best[0].logprob, std::log(0.6), 1e-6);
  EXPECT_EQ(scored.best[1].token, 2u);
  EXPECT_EQ(scored.best[1].logprob, scored.logprob);
  EXPECT_EQ(scored.best[2].token, 0u);  // of equal ones the lower id
  EXPECT_EQ(logprobs_of(logits, 1, 0).rank, 1u);
  EXPECT_TRUE(logprobs_of(logits, 1, 0).best.empty());
  EXPECT_EQ(logprobs_of(logits, 1, 20).best.size(), 4u);
}

TEST(logprobs, far_logits_neither_overflow_nor_vanish) {
  const std::vector<float> logits = {1000, 0, -1000};
  EXPECT_FLOAT_EQ(logprobs_of(logits, 0, 0).logprob, 0);
  EXPECT_FLOAT_EQ(logprobs_of(logits, 2, 0).logprob, -2000);
}

std::vector<uint32_t> ids_of(const std::vector<TextToken>& tokens) {
  std::vector<uint32_t> ids;
  for (const TextToken& token : tokens) ids.push_back(token.logprobs.token);
  return ids;
}

TextToken token(uint32_t id) {
  return {.logprobs = {.token = id}};
}

using Ids = std::vector<uint32_t>;

TEST(TextTokens, wait_until_their_text_is_shown) {
  TextTokens tokens;
  tokens.add(token(1), "ab");
  tokens.add(token(2), "cd");
  EXPECT_EQ(ids_of(tokens.take(1)), Ids{});
  EXPECT_EQ(ids_of(tokens.take(3)), Ids{1});
  EXPECT_EQ(ids_of(tokens.take(3)), Ids{});
  EXPECT_EQ(ids_of(tokens.take(4)), Ids{2});
}

TEST(TextTokens, parts_of_a_character_come_with_it) {
  TextTokens tokens;
  tokens.add(token(1), "a");
  tokens.add(token(2), "");
  tokens.add(token(3), "é");
  tokens.add(token(4), "b");
  EXPECT_EQ(ids_of(tokens.take(1)), Ids{1});
  const auto rest = tokens.take(4);
  EXPECT_EQ(ids_of(rest), (Ids{2, 3, 4}));
  EXPECT_EQ(rest[0].characters, 1u);
  EXPECT_EQ(rest[1].characters, 1u);
  EXPECT_EQ(rest[2].characters, 2u);  // é is one character of two bytes
  EXPECT_EQ(rest[2].begin, 3u);
}

TEST(TextTokens, the_end_gives_what_is_left_or_what_begins_before_the_cut) {
  const auto filled = [] {
    TextTokens tokens;
    tokens.add(token(1), "ab");
    tokens.add(token(2), "cd");
    tokens.add(token(3), "");
    tokens.add(token(4), "ef");
    return tokens;
  };
  EXPECT_EQ(ids_of(filled().take_rest(6, false)), (Ids{1, 2, 3, 4}));
  EXPECT_EQ(ids_of(filled().take_rest(3, true)), (Ids{1, 2}));
  EXPECT_EQ(ids_of(filled().take_rest(4, true)), (Ids{1, 2}));
  EXPECT_EQ(ids_of(filled().take_rest(5, true)), (Ids{1, 2, 3, 4}));
}

TEST(TextTokenQueue, gives_each_token_with_the_text_it_belongs_to) {
  TextTokenQueue queue;
  TextTokens tokens;
  tokens.add(token(1), "ab");
  tokens.add(token(2), "cd");
  tokens.add(token(3), "ef");
  queue.push(tokens.take(6));
  EXPECT_EQ(ids_of(queue.take(1)), Ids{});
  EXPECT_EQ(ids_of(queue.take(3)), (Ids{1, 2}));
  EXPECT_EQ(ids_of(queue.take_rest()), Ids{3});
}

GenerationResult run_one(Engine& engine, GenerationRequest request,
                         std::function<void(std::string_view)> on_text = {}) {
  std::optional<GenerationResult> result;
  Scheduler scheduler(engine);
  scheduler.submit({.generation = std::move(request),
                    .callbacks = {.on_text = std::move(on_text)},
                    .on_done = [&](const GenerationResult& done) { result = done; },
                    .on_error = [](const Error& error) { ADD_FAILURE() << error.message; }});
  while (scheduler.step()) {
  }
  return result.value_or(GenerationResult{});
}

// The definition, in double.
double logprob_by_definition(const float* logits, size_t vocabulary, uint32_t token) {
  double most = logits[0];
  for (size_t i = 0; i < vocabulary; ++i) most = std::max(most, double{logits[i]});
  double sum = 0;
  for (size_t i = 0; i < vocabulary; ++i) sum += std::exp(double{logits[i]} - most);
  return logits[token] - most - std::log(sum);
}

TEST(logprobs, of_a_prompt_are_those_of_its_logits) {
  auto ids = read_ids(source_path("models/tiny/ids.json"));
  ids.resize(std::min<size_t>(ids.size(), 700));  // several slices, several settle points
  for (const std::string plan : {"full", "int8", "int4 snapkv:0.5 settle=256"}) {
    const auto engine = tiny_engine({.plan = plan});
    const auto logits = read_logits(*engine, ids, static_cast<uint32_t>(ids.size()), 100);
    GenerationRequest request = greedy(ids, 1);
    request.ignore_end = true;
    request.logprobs = 2;
    request.prompt_logprobs = 3;
    const GenerationResult result = run_one(*engine, request);
    ASSERT_EQ(result.prompt_logprobs.size(), ids.size() - 1) << plan;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const float* row = logits.data() + i * engine->vocabulary();
      const TokenLogprobs& scored = result.prompt_logprobs[i];
      ASSERT_EQ(scored.token, ids[i + 1]);
      ASSERT_NEAR(scored.logprob, logprob_by_definition(row, engine->vocabulary(), ids[i + 1]),
                  1e-3)
          << plan << ", token " << i;
      ASSERT_EQ(scored.best.size(), 3u);
      ASSERT_EQ(scored.best[0].token, argmax({row, engine->vocabulary()}));
    }
    ASSERT_EQ(result.text_tokens.size(), 1u);
    const float* last = logits.data() + (ids.size() - 1) * engine->vocabulary();
    EXPECT_NEAR(result.text_tokens[0].logprobs.logprob,
                logprob_by_definition(last, engine->vocabulary(), result.tokens[0]), 1e-3);
    EXPECT_EQ(result.text_tokens[0].logprobs.best[0].token, result.tokens[0]);
  }
}

TEST(logprobs, of_a_prompt_read_it_anew_though_its_conversation_was_kept) {
  const auto engine = tiny_engine({.plan = "int8"});
  auto ids = read_ids(source_path("models/tiny/ids.json"));
  ids.resize(200);
  Scheduler scheduler(*engine);
  std::vector<GenerationResult> results;
  const auto submit = [&](GenerationRequest request) {
    scheduler.submit({.generation = std::move(request),
                      .on_done = [&](const GenerationResult& done) { results.push_back(done); }});
    while (scheduler.step()) {
    }
  };
  submit(greedy({ids.begin(), ids.begin() + 100}, 0));
  submit(greedy(ids, 0));
  GenerationRequest request = greedy(ids, 0);
  request.prompt_logprobs = 0;
  request.prompt.push_back(7);
  submit(request);
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[1].reused_tokens, 100u);
  EXPECT_EQ(results[2].reused_tokens, 0u);
  EXPECT_EQ(results[2].prompt_logprobs.size(), 200u);
  EXPECT_EQ(results[2].finish, FinishReason::length);
  EXPECT_TRUE(results[2].tokens.empty());
}

TEST(logprobs, of_a_prompt_are_refused_where_its_rows_are_dropped_on_the_way) {
  const auto engine = tiny_engine({.plan = "fastkv:0.1 rate=0.2 settle=prompt sinks=4"});
  GenerationRequest request = greedy({1, 2, 3}, 1);
  EXPECT_TRUE(check_request(*engine, request).ok());
  request.prompt_logprobs = 0;
  const auto checked = check_request(*engine, request);
  ASSERT_FALSE(checked.ok());
  EXPECT_NE(checked.error().message.find("last layer"), std::string::npos);
}

// Tokens and text agree whatever was held back: the tokens of each piece shown so far end in it.
TEST(logprobs, of_a_stream_keep_step_with_text_that_stop_texts_hold_back) {
  const auto engine = tiny_engine();
  GenerationRequest request = greedy(encode(*engine, "It was a dark and stormy night"), 60);
  request.ignore_end = true;
  const std::string free = run_one(*engine, request).text;
  ASSERT_GT(free.size(), 40u);
  request.logprobs = 0;
  for (const bool show : {false, true}) {
    request.show_stop = show;
    request.stop = {free.substr(25, 3), free.substr(2, 5) + "\x01"};
    request.queue = std::make_shared<TextTokenQueue>();
    std::string text;
    size_t listed = 0;
    const GenerationResult result = run_one(*engine, request, [&](std::string_view piece) {
      text += piece;
      for (const TextToken& token : request.queue->take(piece.size())) {
        EXPECT_LE(token.end, text.size());
        EXPECT_EQ(token.begin, listed);
        listed = token.end;
      }
    });
    const size_t at = free.find(request.stop[0]);
    EXPECT_EQ(text, free.substr(0, at + (show ? 3 : 0)));
    EXPECT_EQ(result.text, text);
    EXPECT_EQ(result.finish, FinishReason::stop);
    EXPECT_TRUE(result.text_tokens.empty());
    for (const TextToken& token : request.queue->take_rest()) {
      EXPECT_LT(token.begin, text.size());
      listed = token.end;
    }
    EXPECT_GE(listed, text.size());
  }
}

TEST(Answer, an_echo_begins_the_text_and_its_logprobs) {
  const auto engine = tiny_engine();
  const std::string prompt = "The quick brown fox";
  GenerationRequest request = greedy(encode(*engine, prompt), 5);
  request.ignore_end = true;
  const GenerationResult plain = run_one(*engine, request);
  request.echo = true;
  request.logprobs = request.prompt_logprobs = 1;
  const GenerationResult echoed = run_one(*engine, request);
  EXPECT_EQ(echoed.text, prompt + plain.text);
  EXPECT_EQ(echoed.tokens, plain.tokens);
  ASSERT_EQ(echoed.text_tokens.size(), request.prompt.size() + 5);
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    EXPECT_EQ(echoed.text_tokens[i].logprobs.token, request.prompt[i]);
    EXPECT_EQ(echoed.text_tokens[i].scored, i > 0);
    EXPECT_EQ(echoed.text_tokens[i].logprobs.logprob<0, i> 0);
  }
  EXPECT_TRUE(echoed.prompt_logprobs.empty());
  request.max_tokens = 0;
  const GenerationResult only = run_one(*engine, request);
  EXPECT_EQ(only.text, prompt);
  EXPECT_EQ(only.text_tokens.size(), request.prompt.size());
}

TEST(Answer, ends_wait_for_the_least_number_of_tokens) {
  const auto engine = tiny_engine();
  GenerationRequest request = greedy(encode(*engine, "It was a dark and stormy night"), 12);
  request.ignore_end = true;
  const GenerationResult free = run_one(*engine, request);
  ASSERT_EQ(free.tokens.size(), 12u);
  request.stop_tokens = {free.tokens[3]};
  request.logprobs = 0;
  const GenerationResult stopped = run_one(*engine, request);
  const auto first = std::find(free.tokens.begin(), free.tokens.end(), free.tokens[3]);
  EXPECT_EQ(stopped.tokens, (std::vector<uint32_t>(free.tokens.begin(), first)));
  EXPECT_EQ(stopped.finish, FinishReason::stop);
  // The token that ended it is scored, and no part of the text.
  ASSERT_EQ(stopped.text_tokens.size(), stopped.tokens.size() + 1);
  EXPECT_TRUE(stopped.text_tokens.back().ends);
  EXPECT_EQ(stopped.text_tokens.back().logprobs.token, free.tokens[3]);

  request.min_tokens = 9;
  const GenerationResult longer = run_one(*engine, request);
  EXPECT_GE(longer.tokens.size(), 9u);
  EXPECT_EQ(std::count(longer.tokens.begin(), longer.tokens.begin() + 9, free.tokens[3]), 0);

  request.stop_tokens.clear();
  request.stop = {free.text.substr(3, 2)};
  EXPECT_GE(run_one(*engine, request).tokens.size(), 9u);
  request.min_tokens = 0;
  EXPECT_LT(run_one(*engine, request).tokens.size(), 9u);
}

TEST(Answer, masks_that_leave_nothing_end_it) {
  const auto engine = tiny_engine();
  GenerationRequest request = greedy({1, 2, 3}, 5);
  request.rules = std::make_shared<TokenRules>(TokenRules{.allowed = {7}});
  request.stop_tokens = {7};
  request.min_tokens = 2;
  const GenerationResult result = run_one(*engine, request);
  EXPECT_TRUE(result.tokens.empty());
  EXPECT_EQ(result.finish, FinishReason::stop);
}

TEST(Session, says_that_it_has_no_logprobs_of_prompts) {
  const auto engine = tiny_engine();
  GenerationRequest request = greedy({1, 2, 3}, 5);
  request.prompt_logprobs = 1;
  EXPECT_FALSE(Session(*engine).generate(request).ok());
}

}  // namespace
}  // namespace skvis::testing
