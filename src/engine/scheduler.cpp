// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.hpp"

#include <algorithm>

#include "engine/guarded.hpp"

namespace skvis {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Log-probabilities of a prompt need the logits of all its rows, 32 MiB of them at a time.
constexpr size_t kMostLogits = size_t{1} << 23;

uint32_t rows_of_slice(const GenerationRequest& request, size_t vocabulary) {
  if (!request.prompt_logprobs) return kPromptChunk;
  return static_cast<uint32_t>(std::clamp<size_t>(kMostLogits / vocabulary, 1, kPromptChunk));
}

}  // namespace

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : engine_(engine), options_(options), pace_(options.prompt_stretch) {}

Scheduler::~Scheduler() {
  for (Requests* requests : {&waiting_, &running_}) {
    for (Request& request : *requests) request.cancelled = true;
  }
  while (!waiting_.empty() || !running_.empty()) step();
}

Scheduler::RequestId Scheduler::submit(ScheduledRequest request) {
  Request& added = *waiting_.emplace(place_for(request.priority, false));
  added.id = next_id_++;
  added.asked = std::move(request);
  shares_.arrive(added.asked.client);
  if (const Result<void> checked = check(added); !checked) fail_request(added, checked.error());
  return added.id;
}

Result<void> Scheduler::check(Request& request) const {
  const GenerationRequest& generation = request.asked.generation;
  SKVIS_CHECK(check_request(engine_, generation));
  request.limit = most_tokens_of(engine_, generation);
  request.result.prompt_tokens = static_cast<uint32_t>(generation.prompt.size());
  return engine_.can_ever_fit(request.result.prompt_tokens, request.limit);
}

bool Scheduler::cancel(RequestId id) {
  for (Requests* requests : {&waiting_, &running_}) {
    for (Request& request : *requests) {
      if (request.id != id) continue;
      request.cancelled = true;
      return true;
    }
  }
  return false;
}

SchedulerFigures Scheduler::figures() const {
  const PrefixFigures& kept = index_.figures();
  SchedulerFigures figures{.waiting = waiting_.size(),
                           .idle = kept.conversations,
                           .points = kept.points,
                           .idle_bytes = kept.bytes,
                           .dropped = kept.dropped,
                           .preempted = preempted_};
  for (const Request& request : running_) {
    ++(request.decoding() ? figures.decoding : figures.reading);
  }
  return figures;
}

bool Scheduler::step() {
  last_step_ = {};
  ask_who_goes_on();
  admit_waiting();
  std::vector<Request*> taking_part;
  const std::vector<StepWork> work = compose(taking_part);
  if (!work.empty()) {
    const auto start = Clock::now();
    const Result<void> done = guarded([&] { return run(work); });
    pace_.note(last_step_.prompt_rows, last_step_.generated_rows, seconds_since(start));
    const float* logits = logits_.data();
    for (size_t i = 0; i < work.size(); ++i) {
      Request& request = *taking_part[i];
      const size_t floats = work[i].logits_rows * engine_.vocabulary();
      // After a failed step nobody knows how far its sequences are.
      const Result<void> advanced = !done ? done : guarded([&]() -> Result<void> {
        advance(request, work[i], {logits, floats});
        return {};
      });
      if (!advanced) fail_request(request, advanced.error());
      logits += floats;
    }
  }
  answer_ended();
  return !waiting_.empty() || !running_.empty();
}

void Scheduler::ask_who_goes_on() {
  const auto now = Clock::now();
  for (Requests* requests : {&waiting_, &running_}) {
    for (Request& request : *requests) {
      const auto& go_on = request.asked.callbacks.go_on;
      request.cancelled = request.cancelled || (go_on && !go_on());
      request.late = now >= request.asked.deadline;
      if (!request.cancelled && !request.late) continue;
      const Result<void> finished = guarded([&]() -> Result<void> {
        finish(request);
        return {};
      });
      if (!finished) fail_request(request, finished.error());
    }
  }
  answer_ended();
}

void Scheduler::drop_idle() {
  index_.clear();
}

// One slice of the prompt that was admitted first, then every answer's next token.
std::vector<StepWork> Scheduler::compose(std::vector<Request*>& taking_part) {
  std::vector<StepWork> work;
  const auto reader = std::find_if(running_.begin(), running_.end(),
                                   [](const Request& request) { return !request.decoding(); });
  const auto answers = static_cast<uint32_t>(std::count_if(
      running_.begin(), running_.end(), [](const Request& request) { return request.decoding(); }));
  if (reader != running_.end() && begin_reading(*reader)) {
    const GenerationRequest& generation = reader->asked.generation;
    const std::vector<uint32_t>& prompt = generation.prompt;
    const size_t done = reader->tokens().size();
    uint32_t most = rows_of_slice(generation, engine_.vocabulary());
    if (!options_.prompts_first) most = pace_.rows(answers, rows_beside(answers, most));
    const uint32_t rows = reader->sequence().slice(
        static_cast<uint32_t>(std::min<size_t>(most, prompt.size() - done)));
    const bool ends = done + rows == prompt.size();
    const uint32_t logits_rows = generation.prompt_logprobs ? rows : ends ? 1 : 0;
    work.push_back({.sequence = &reader->sequence(),
                    .tokens = std::span(prompt).subspan(done, rows),
                    .kind = RowKind::prompt,
                    .logits_rows = logits_rows,
                    .prompt_ends = ends,
                    .prompt = prompt});
    taking_part.push_back(&*reader);
    last_step_.prompt_rows = rows;
    if (options_.prompts_first) return work;
  }
  for (Request& request : running_) {
    if (!request.decoding()) continue;
    work.push_back({.sequence = &request.sequence(),
                    .tokens = {&request.next, 1},
                    .kind = RowKind::generated,
                    .logits_rows = 1});
    taking_part.push_back(&request);
    ++last_step_.generated_rows;
  }
  return work;
}

// What the step's budget of tokens leaves to a prompt, which must come to its end.
uint32_t Scheduler::rows_beside(uint32_t answers, uint32_t most) const {
  const uint32_t left = options_.step_tokens - std::min(options_.step_tokens, answers);
  return std::clamp(left, std::min(most, PromptPace::kLeastRows), most);
}

// False: the request has failed.
bool Scheduler::begin_reading(Request& request) {
  if (std::exchange(request.begun, true)) return true;
  request.since = Clock::now();
  const Result<void> told = guarded([&]() -> Result<void> {
    const GenerationResult& result = request.result;
    const auto& on_prompt = request.asked.callbacks.on_prompt;
    if (on_prompt) on_prompt(0, result.prompt_tokens - result.reused_tokens);
    return {};
  });
  if (!told) fail_request(request, told.error());
  return told.ok();
}

Result<void> Scheduler::run(const std::vector<StepWork>& work) {
  size_t rows = 0;
  for (const StepWork& item : work) rows += item.logits_rows;
  logits_.resize(rows * engine_.vocabulary());
  SKVIS_CHECK(engine_.step(work, logits_));
  last_step_.seconds = engine_.last_step();
  return {};
}

// The work was done: the conversation is longer by its tokens.
void Scheduler::advance(Request& request, const StepWork& work, std::span<const float> logits) {
  auto& tokens = request.tokens();
  const size_t before = tokens.size();
  tokens.insert(tokens.end(), work.tokens.begin(), work.tokens.end());
  const size_t count = work.tokens.size();
  const bool generated = work.kind == RowKind::generated;
  shares_.serve(request.asked.client, generated ? 0 : count, generated ? count : 0);
  publish(request, work.prompt_ends);
  if (generated) return sample(request, logits);
  GenerationResult& result = request.result;
  const GenerationRequest& generation = request.asked.generation;
  const auto& callbacks = request.asked.callbacks;
  if (generation.prompt_logprobs) {
    score_prompt(generation.prompt, before, logits, engine_.vocabulary(),
                 *generation.prompt_logprobs, engine_.threads(), result.prompt_logprobs);
  }
  if (callbacks.on_prompt) {
    callbacks.on_prompt(tokens.size() - result.reused_tokens,
                        result.prompt_tokens - result.reused_tokens);
  }
  if (!work.prompt_ends) return;
  result.prompt_seconds = seconds_since(request.since);
  const std::span<const float> last = logits.last(engine_.vocabulary());
  begin_followers(request, last);
  begin_answer(request);
  if (request.limit == result.prompt_tokens) return finish(request);
  sample(request, last);
}

void Scheduler::begin_answer(Request& request) {
  const GenerationRequest& generation = request.asked.generation;
  request.since = Clock::now();
  std::vector<TokenLogprobs> echoed;
  if (generation.echo) echoed = std::move(request.result.prompt_logprobs);
  request.answer.emplace(engine_.model(), generation, request.asked.callbacks, std::move(echoed));
}

// Further answers to the prompt that the leader has just read; logits [vocabulary] are its last.
// Those that find no room wait on, and begin with what is published then.
void Scheduler::begin_followers(Request& leader, std::span<const float> logits) {
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    const auto follower = next++;
    if (follower->asked.follows != leader.id || follower->ended) continue;
    if (running_.size() >= options_.most_running) return;
    const Result<void> followed = guarded([&]() -> Result<void> {
      if (!follow(*follower, leader)) return {};
      running_.splice(running_.end(), waiting_, follower);
      if (!begin_reading(*follower)) return {};
      begin_answer(*follower);
      if (follower->limit == follower->result.prompt_tokens) {
        finish(*follower);
      } else {
        sample(*follower, logits);
      }
      return {};
    });
    if (!followed) fail_request(*follower, followed.error());
  }
}

// At a grid point, where the state follows from the tokens alone. Room is made for it by what has
// not been used since the request came.
void Scheduler::publish(Request& request, bool prompt_ends) {
  Conversation& conversation = *request.conversation;
  const SettleRule& settle = engine_.plan().settle;
  if (prompt_ends && settle.at_prompt_end) conversation.shareable = false;
  if (!options_.share_prefixes || !conversation.shareable) return;
  if (!settle.is_grid_point(conversation.sequence.committed())) return;
  const auto try_once = [&] {
    return index_.publish(conversation.sequence, request.asked.salt, conversation.tokens);
  };
  while (try_once() == PrefixIndex::Published::no_room) {
    const auto oldest = least_needed(index_.end());
    if (oldest == index_.end() || oldest->used >= request.admitted_at) return;
    index_.drop(oldest);
  }
}

void Scheduler::sample(Request& request, std::span<const float> logits) {
  const Result<std::optional<uint32_t>> drawn = request.answer->next(logits);
  if (!drawn) return fail_request(request, drawn.error());
  const std::optional<uint32_t> token = *drawn;
  const size_t length = request.asked.generation.prompt.size() + request.answer->tokens();
  // The last token is never read: nothing follows from it in this turn.
  if (!token || length >= request.limit) return finish(request);
  request.next = *token;
}

void Scheduler::fail_request(Request& request, Error error) {
  request.failure = std::move(error);
  request.ended = true;
}

void Scheduler::finish(Request& request) {
  GenerationResult& result = request.result;
  if (request.decoding()) {
    request.answer->write_to(result);
    result.decode_seconds = seconds_since(request.since);
  }
  if (request.conversation) note_memory(engine_, request.sequence(), result);
  if (request.late) result.finish = FinishReason::deadline;
  if (request.cancelled) result.finish = FinishReason::cancelled;
  request.ended = true;
}

// Takes requests that ended out of the lists and tells their owners, who may submit others.
void Scheduler::answer_ended() {
  for (Requests* requests : {&waiting_, &running_}) {
    for (auto request = requests->begin(); request != requests->end();) {
      const auto next = std::next(request);
      if (request->ended) ended_.splice(ended_.end(), *requests, request);
      request = next;
    }
  }
  Requests ended;
  ended.swap(ended_);
  for (Request& request : ended) {
    if (!request.failure && !request.cancelled && request.conversation) {
      Conversation& conversation = *request.conversation;
      index_.keep(std::move(conversation.sequence), request.asked.salt, conversation.tokens,
                  conversation.first_prompt);
    }
    request.conversation.reset();
  }
  for (Request& request : ended) shares_.leave(request.asked.client);
  for (Request& request : ended) {
    if (request.failure) {
      if (request.asked.on_error) request.asked.on_error(*request.failure);
    } else if (request.asked.on_done) {
      request.asked.on_done(request.result);
    }
  }
}

}  // namespace skvis
