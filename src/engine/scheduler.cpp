// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.hpp"

#include <algorithm>

#include "cache/sequence_image.hpp"

namespace skvis {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Has the conversation read the beginning of this prompt, and nothing else? At least one token is
// left to read: its logits begin the answer.
bool begins_with(const std::vector<uint32_t>& prompt, const std::vector<uint32_t>& read) {
  return read.size() < prompt.size() && std::equal(read.begin(), read.end(), prompt.begin());
}

// Runs what calls back into code of others; memory may run out there or here.
template <typename Body>
Result<void> guarded(const Body& body) {
  try {
    return body();
  } catch (const std::exception& problem) {
    return fail("{}", problem.what());
  }
}

}  // namespace

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : engine_(engine), options_(options) {}

Scheduler::~Scheduler() {
  for (Requests* requests : {&waiting_, &running_}) {
    for (Request& request : *requests) request.cancelled = true;
  }
  while (!waiting_.empty() || !running_.empty()) step();
}

Scheduler::RequestId Scheduler::submit(ScheduledRequest request) {
  Request& added = *waiting_.emplace(place_for(request.priority, request.first));
  added.id = next_id_++;
  added.asked = std::move(request);
  if (const Result<void> checked = check(added); !checked) fail_request(added, checked.error());
  return added.id;
}

// Before the first that is less urgent.
Scheduler::Requests::iterator Scheduler::place_for(int priority, bool first) {
  return std::find_if(waiting_.begin(), waiting_.end(), [&](const Request& request) {
    return first ? request.asked.priority <= priority : request.asked.priority < priority;
  });
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
  SchedulerFigures figures{.waiting = waiting_.size(),
                           .idle = kept_.size(),
                           .dropped = dropped_,
                           .preempted = preempted_};
  for (const Request& request : running_) {
    ++(request.decoding() ? figures.decoding : figures.reading);
  }
  for (const Conversation& kept : kept_) figures.idle_bytes += kept.bytes;
  return figures;
}

bool Scheduler::step() {
  last_step_ = {};
  ask_who_goes_on();
  admit_waiting();
  std::vector<Request*> taking_part;
  const std::vector<StepWork> work = compose(taking_part);
  if (!work.empty()) {
    const Result<void> done = guarded([&] { return run(work); });
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
  for (Requests* requests : {&waiting_, &running_}) {
    for (Request& request : *requests) {
      const auto& go_on = request.asked.callbacks.go_on;
      request.cancelled = request.cancelled || (go_on && !go_on());
      if (!request.cancelled) continue;
      const Result<void> finished = guarded([&]() -> Result<void> {
        finish(request);
        return {};
      });
      if (!finished) fail_request(request, finished.error());
    }
  }
  answer_ended();
}

// One that does not fit holds up those behind it, or it would never run.
void Scheduler::admit_waiting() {
  while (!waiting_.empty()) {
    const auto next = next_in_line();
    if (running_.size() >= options_.most_running) {
      if (!preempt_for(*next)) return;
      continue;
    }
    const Result<void> admitted = guarded([&]() -> Result<void> {
      SKVIS_TRY(const bool fits, next->paused ? resume(*next) : Result<bool>(admit(*next)));
      if (fits || !running_.empty()) return {};
      // Nobody runs and nothing is kept: someone else holds the pool, and may never let go.
      const uint32_t prompt = next->result.prompt_tokens;
      return fail("KV memory is taken at the moment: {} tokens need up to {} bytes, {} are free",
                  next->limit, engine_.layout().worst_case_bytes(prompt, next->limit),
                  engine_.pool().figures().free);
    });
    if (!admitted) {
      fail_request(*next, admitted.error());
      ended_.splice(ended_.end(), waiting_, next);
    } else if (!next->conversation.empty()) {
      for (auto before = waiting_.begin(); before != next; ++before) ++before->overtaken;
      running_.splice(running_.end(), waiting_, next);
    } else if (!preempt_for(*next)) {
      return;
    }
  }
}

// Writes out the least urgent request that runs, of these the one that was admitted last. False:
// all are as urgent as this one, or all less urgent ones together would not leave it room.
bool Scheduler::preempt_for(const Request& request) {
  const CacheLayout& layout = engine_.layout();
  size_t most = engine_.pool().figures().free;
  for (const Conversation& kept : kept_) most += kept.bytes;
  auto victim = running_.end();
  for (auto running = running_.begin(); running != running_.end(); ++running) {
    if (running->asked.priority >= request.asked.priority) continue;
    most += layout.worst_case_bytes(running->conversation.front().first_prompt, running->limit);
    if (victim == running_.end() || running->asked.priority <= victim->asked.priority) {
      victim = running;
    }
  }
  const size_t needed = layout.worst_case_bytes(request.result.prompt_tokens, request.limit);
  if (victim == running_.end() || needed > most) return false;
  Conversation& conversation = victim->conversation.front();
  std::vector<std::byte> image;
  const Result<void> written = guarded([&]() -> Result<void> {
    image = SequenceImage::write(conversation.sequence);
    return {};
  });
  if (!written) return false;  // no memory for it: who runs goes on
  victim->paused = Paused{.image = std::move(image),
                          .tokens = std::move(conversation.tokens),
                          .first_prompt = conversation.first_prompt};
  victim->conversation.clear();
  ++preempted_;
  waiting_.splice(place_for(victim->asked.priority, true), running_, victim);
  return true;
}

// The first one, unless kept conversations would have to leave for it while the next turn of one
// waits: clients that take turns would otherwise drop, each time, what is asked for next.
Scheduler::Requests::iterator Scheduler::next_in_line() {
  const auto first = waiting_.begin();
  const auto goes_on = [&](const Request& request) {
    return !request.paused && find_kept(request.asked.generation.prompt) != kept_.end();
  };
  if (kept_.empty() || first->paused || first->overtaken >= options_.most_overtaken ||
      goes_on(*first) || engine_.fits_now(first->result.prompt_tokens, first->limit)) {
    return first;
  }
  const auto end = std::find_if(first, waiting_.end(), [&](const Request& request) {
    return request.asked.priority < first->asked.priority;
  });
  const auto found = std::find_if(std::next(first), end, goes_on);
  return found == end ? first : found;
}

bool Scheduler::admit(Request& request) {
  const std::vector<uint32_t>& prompt = request.asked.generation.prompt;
  const auto kept = find_kept(prompt);
  if (kept != kept_.end()) {
    const bool possible = engine_.can_ever_fit(kept->first_prompt, request.limit).ok();
    if (possible && go_on_with(request, kept)) return true;
    if (possible && !running_.empty()) return false;  // they will leave room
    drop(kept);
  }
  const uint32_t length = request.result.prompt_tokens;
  const Quota quota = engine_.layout().worst_case(length, request.limit);
  Pool& pool = engine_.pool();
  ReservationId reservation = kUnreserved;
  const auto reserve = [&] { return (reservation = pool.reserve(quota)) != kUnreserved; };
  if (!make_room(quota, reserve, kept_.end())) return false;
  request.conversation.push_back(
      {.sequence = SequenceCache(engine_.layout(), pool, reservation), .first_prompt = length});
  return true;
}

Result<bool> Scheduler::resume(Request& request) {
  Paused& paused = *request.paused;
  const Quota quota = engine_.layout().worst_case(paused.first_prompt, request.limit);
  Pool& pool = engine_.pool();
  ReservationId reservation = kUnreserved;
  const auto reserve = [&] { return (reservation = pool.reserve(quota)) != kUnreserved; };
  if (!make_room(quota, reserve, kept_.end())) return false;
  SKVIS_TRY(SequenceCache sequence,
            SequenceImage::read(paused.image, engine_.layout(), pool, reservation));
  request.conversation.push_back({.sequence = std::move(sequence),
                                  .tokens = std::move(paused.tokens),
                                  .first_prompt = paused.first_prompt});
  request.paused.reset();
  return true;
}

// A kept conversation is promised nothing beyond what it holds; it now needs room for another turn.
bool Scheduler::go_on_with(Request& request, Kept::iterator kept) {
  const Quota quota = engine_.layout().worst_case(kept->first_prompt, request.limit);
  const ReservationId reservation = kept->sequence.reservation();
  const auto grow = [&] { return engine_.pool().resize(reservation, quota); };
  if (!make_room(quota, grow, kept)) return false;
  request.result.reused_tokens = static_cast<uint32_t>(kept->tokens.size());
  request.conversation.splice(request.conversation.end(), kept_, kept);
  return true;
}

// The longest of those that the prompt goes on from.
Scheduler::Kept::iterator Scheduler::find_kept(const std::vector<uint32_t>& prompt) {
  auto best = kept_.end();
  for (auto kept = kept_.begin(); kept != kept_.end(); ++kept) {
    if (best != kept_.end() && kept->tokens.size() <= best->tokens.size()) continue;
    if (begins_with(prompt, kept->tokens)) best = kept;
  }
  return best;
}

// Tries to reserve, dropping one kept conversation after the other until it works. None is dropped
// where all of them together would not be enough.
bool Scheduler::make_room(const Quota& quota, const std::function<bool()>& reserve,
                          Kept::iterator spared) {
  const Pool& pool = engine_.pool();
  size_t needed = 0;
  for (const auto& [page_class, pages] : quota) needed += pages * pool.page_bytes(page_class);
  size_t most = pool.figures().free;
  for (const Conversation& kept : kept_) most += kept.bytes;
  if (needed > most) return false;
  while (!reserve()) {
    const auto next = least_needed(spared);
    if (next == kept_.end()) return false;
    drop(next);
  }
  return true;
}

// The least recently used one that no waiting request goes on from. If all are waited for, the one
// whose request stands last in the queue: the others are needed sooner.
Scheduler::Kept::iterator Scheduler::least_needed(Kept::iterator spared) {
  auto best = kept_.end();
  size_t best_distance = 0;
  for (auto kept = kept_.begin(); kept != kept_.end(); ++kept) {
    if (kept == spared) continue;
    size_t distance = 1;
    for (const Request& request : waiting_) {
      if (begins_with(request.asked.generation.prompt, kept->tokens)) break;
      ++distance;
    }
    if (distance <= best_distance) continue;
    best = kept;
    best_distance = distance;
  }
  return best;
}

void Scheduler::drop(Kept::iterator kept) {
  kept_.erase(kept);
  ++dropped_;
}

void Scheduler::drop_idle() {
  kept_.clear();
}

// One slice of the prompt that was admitted first, then every answer's next token.
std::vector<StepWork> Scheduler::compose(std::vector<Request*>& taking_part) {
  std::vector<StepWork> work;
  const auto reader = std::find_if(running_.begin(), running_.end(),
                                   [](const Request& request) { return !request.decoding(); });
  if (reader != running_.end() && begin_reading(*reader)) {
    const std::vector<uint32_t>& prompt = reader->asked.generation.prompt;
    const size_t done = reader->tokens().size();
    const uint32_t rows = reader->sequence().slice(
        static_cast<uint32_t>(std::min<size_t>(kPromptChunk, prompt.size() - done)));
    const bool ends = done + rows == prompt.size();
    work.push_back({.sequence = &reader->sequence(),
                    .tokens = std::span(prompt).subspan(done, rows),
                    .kind = RowKind::prompt,
                    .logits_rows = ends ? 1u : 0u,
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
  tokens.insert(tokens.end(), work.tokens.begin(), work.tokens.end());
  if (work.kind == RowKind::generated) return sample(request, logits);
  GenerationResult& result = request.result;
  const auto& callbacks = request.asked.callbacks;
  if (callbacks.on_prompt) {
    callbacks.on_prompt(tokens.size() - result.reused_tokens,
                        result.prompt_tokens - result.reused_tokens);
  }
  if (!work.prompt_ends) return;
  result.prompt_seconds = seconds_since(request.since);
  request.since = Clock::now();
  request.answer.emplace(engine_.model(), request.asked.generation, callbacks);
  if (request.limit == result.prompt_tokens) return finish(request);
  sample(request, logits);
}

void Scheduler::sample(Request& request, std::span<const float> logits) {
  const std::optional<uint32_t> token = request.answer->next(logits);
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
  if (!request.conversation.empty()) note_memory(engine_, request.sequence(), result);
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
    if (request.failure || request.cancelled) {
      request.conversation.clear();
    } else if (!request.conversation.empty()) {
      Conversation& conversation = request.conversation.front();
      conversation.bytes = conversation.sequence.bytes().pages;
      engine_.pool().resize(conversation.sequence.reservation(), {});
      kept_.splice(kept_.end(), request.conversation);
    }
  }
  for (Request& request : ended) {
    if (request.failure) {
      if (request.asked.on_error) request.asked.on_error(*request.failure);
    } else if (request.asked.on_done) {
      request.asked.on_done(request.result);
    }
  }
}

}  // namespace skvis
