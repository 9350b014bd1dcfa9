// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.hpp"

#include <algorithm>
#include <unordered_map>

#include "cache/sequence_image.hpp"

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
    } else if (next->conversation) {
      next->admitted_at = index_.now();
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
  size_t most = engine_.pool().figures().free + index_.reclaimable();
  auto victim = running_.end();
  for (auto running = running_.begin(); running != running_.end(); ++running) {
    if (running->asked.priority >= request.asked.priority) continue;
    most += layout.worst_case_bytes(running->conversation->first_prompt, running->limit);
    if (victim == running_.end() || running->asked.priority <= victim->asked.priority) {
      victim = running;
    }
  }
  const size_t needed = layout.worst_case_bytes(request.result.prompt_tokens, request.limit);
  if (victim == running_.end() || needed > most) return false;
  Conversation& conversation = *victim->conversation;
  std::vector<std::byte> image;
  const Result<void> written = guarded([&]() -> Result<void> {
    image = SequenceImage::write(conversation.sequence);
    return {};
  });
  if (!written) return false;  // no memory for it: who runs goes on
  victim->paused = Paused{.image = std::move(image),
                          .tokens = std::move(conversation.tokens),
                          .first_prompt = conversation.first_prompt,
                          .shareable = conversation.shareable};
  victim->conversation.reset();
  ++preempted_;
  waiting_.splice(place_for(victim->asked.priority, true), running_, victim);
  return true;
}

// The first one, unless kept conversations would have to leave for it while the next turn of one
// waits: clients that take turns would otherwise drop, each time, what is asked for next.
Scheduler::Requests::iterator Scheduler::next_in_line() {
  const auto first = waiting_.begin();
  const auto goes_on = [&](const Request& request) {
    return !request.paused && find(request).whole;
  };
  if (index_.figures().conversations == 0 || first->paused ||
      first->overtaken >= options_.most_overtaken || goes_on(*first) ||
      engine_.fits_now(first->result.prompt_tokens, first->limit)) {
    return first;
  }
  const auto end = std::find_if(first, waiting_.end(), [&](const Request& request) {
    return request.asked.priority < first->asked.priority;
  });
  const auto found = std::find_if(std::next(first), end, goes_on);
  return found == end ? first : found;
}

bool Scheduler::admit(Request& request) {
  const PrefixIndex::Found found = find(request);
  if (found) {
    const bool possible =
        !found.whole || engine_.can_ever_fit(found.state->first_prompt, request.limit).ok();
    if (possible && (found.whole ? take(request, found) : begin_with(request, found))) return true;
    if (possible && !running_.empty()) return false;  // they will leave room
  }
  // What it could begin with may be what stands in its way.
  return begin_anew(request);
}

// What the request may begin with. Log-probabilities of a prompt need all of its rows.
PrefixIndex::Found Scheduler::find(const Request& request) {
  const GenerationRequest& generation = request.asked.generation;
  const PrefixIndex::Found nothing{.state = index_.end()};
  if (generation.prompt_logprobs) return nothing;
  const auto found = index_.find(engine_.layout(), request.asked.salt, generation.prompt);
  return options_.share_prefixes || found.whole ? found : nothing;
}

bool Scheduler::begin_anew(Request& request) {
  const uint32_t length = request.result.prompt_tokens;
  const Quota quota = engine_.layout().worst_case(length, request.limit);
  Pool& pool = engine_.pool();
  ReservationId reservation = kUnreserved;
  const auto reserve = [&] { return (reservation = pool.reserve(quota)) != kUnreserved; };
  if (!make_room(quota, reserve, index_.end())) return false;
  request.conversation.emplace(Conversation{
      .sequence = SequenceCache(engine_.layout(), pool, reservation), .first_prompt = length});
  return true;
}

// A kept conversation is promised nothing beyond what it holds; it now needs room for another turn.
bool Scheduler::take(Request& request, PrefixIndex::Found found) {
  PrefixIndex::State& state = *found.state;
  const CacheLayout& layout = engine_.layout();
  const uint32_t first_prompt = state.first_prompt;
  const Quota quota =
      without(layout.worst_case(first_prompt, request.limit), state.sequence.lasting_pages());
  const auto grow = [&] { return engine_.pool().resize(state.sequence.reservation(), quota); };
  if (!make_room(quota, grow, found.state)) return false;
  const std::vector<uint32_t>& prompt = request.asked.generation.prompt;
  request.result.reused_tokens = found.tokens;
  request.conversation.emplace(
      Conversation{.sequence = index_.take(found.state),
                   .tokens = {prompt.begin(), prompt.begin() + found.tokens},
                   .first_prompt = first_prompt,
                   .shareable = !layout.plan().settle.at_prompt_end});
  return true;
}

// A fork of what others have read. The pages that it holds in common need no room of its own.
bool Scheduler::begin_with(Request& request, PrefixIndex::Found found) {
  const uint32_t length = request.result.prompt_tokens;
  const Quota quota = without(engine_.layout().worst_case(length, request.limit),
                              found.state->sequence.lasting_pages());
  Pool& pool = engine_.pool();
  ReservationId reservation = kUnreserved;
  const auto reserve = [&] { return (reservation = pool.reserve(quota)) != kUnreserved; };
  if (!make_room(quota, reserve, found.state)) return false;
  auto fork = found.state->sequence.fork(reservation, found.tokens);
  if (!fork) return false;
  index_.touch(found.state);
  const std::vector<uint32_t>& prompt = request.asked.generation.prompt;
  request.result.reused_tokens = found.tokens;
  request.conversation.emplace(
      Conversation{.sequence = std::move(*fork),
                   .tokens = {prompt.begin(), prompt.begin() + found.tokens},
                   .first_prompt = length});
  return true;
}

Result<bool> Scheduler::resume(Request& request) {
  Paused& paused = *request.paused;
  const Quota quota = engine_.layout().worst_case(paused.first_prompt, request.limit);
  Pool& pool = engine_.pool();
  ReservationId reservation = kUnreserved;
  const auto reserve = [&] { return (reservation = pool.reserve(quota)) != kUnreserved; };
  if (!make_room(quota, reserve, index_.end())) return false;
  SKVIS_TRY(SequenceCache sequence,
            SequenceImage::read(paused.image, engine_.layout(), pool, reservation));
  request.conversation.emplace(Conversation{.sequence = std::move(sequence),
                                            .tokens = std::move(paused.tokens),
                                            .first_prompt = paused.first_prompt,
                                            .shareable = paused.shareable});
  request.paused.reset();
  return true;
}

// Tries to reserve, dropping one kept state after the other until it works. None is dropped where
// all of them together would not be enough.
bool Scheduler::make_room(const Quota& quota, const std::function<bool()>& reserve,
                          PrefixIndex::Handle spared) {
  if (reserve()) return true;
  const Pool& pool = engine_.pool();
  size_t needed = 0;
  for (const auto& [page_class, pages] : quota) needed += pages * pool.page_bytes(page_class);
  if (needed > pool.figures().free + index_.reclaimable()) return false;
  while (!reserve()) {
    const auto next = least_needed(spared);
    if (next == index_.end()) return false;
    index_.drop(next);
  }
  return true;
}

// The least valuable state that no waiting request begins with. If all are waited for, the one
// whose request stands last in the queue: the others are needed sooner.
PrefixIndex::Handle Scheduler::least_needed(PrefixIndex::Handle spared) {
  std::unordered_map<const PrefixIndex::State*, int64_t> turns;
  int64_t turn = 0;
  for (const Request& request : waiting_) {
    if (const auto found = find(request)) turns.emplace(&*found.state, turn);
    ++turn;
  }
  return index_.least_valuable([&](const PrefixIndex::State& state) -> int64_t {
    if (spared != index_.end() && &state == &*spared) return -1;
    const auto waited = turns.find(&state);
    return waited == turns.end() ? turn : waited->second;
  });
}

void Scheduler::drop_idle() {
  index_.clear();
}

// One slice of the prompt that was admitted first, then every answer's next token.
std::vector<StepWork> Scheduler::compose(std::vector<Request*>& taking_part) {
  std::vector<StepWork> work;
  const auto reader = std::find_if(running_.begin(), running_.end(),
                                   [](const Request& request) { return !request.decoding(); });
  if (reader != running_.end() && begin_reading(*reader)) {
    const GenerationRequest& generation = reader->asked.generation;
    const std::vector<uint32_t>& prompt = generation.prompt;
    const size_t done = reader->tokens().size();
    const uint32_t rows = reader->sequence().slice(static_cast<uint32_t>(
        std::min<size_t>(rows_of_slice(generation, engine_.vocabulary()), prompt.size() - done)));
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
  publish(request, work.prompt_ends);
  if (work.kind == RowKind::generated) return sample(request, logits);
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
  request.since = Clock::now();
  std::vector<TokenLogprobs> echoed;
  if (generation.echo) echoed = std::move(result.prompt_logprobs);
  request.answer.emplace(engine_.model(), generation, callbacks, std::move(echoed));
  if (request.limit == result.prompt_tokens) return finish(request);
  sample(request, logits.last(engine_.vocabulary()));
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
  if (request.conversation) note_memory(engine_, request.sequence(), result);
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
  for (Request& request : ended) {
    if (request.failure) {
      if (request.asked.on_error) request.asked.on_error(*request.failure);
    } else if (request.asked.on_done) {
      request.asked.on_done(request.result);
    }
  }
}

}  // namespace skvis
