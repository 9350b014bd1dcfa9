// SPDX-License-Identifier: Apache-2.0
// Who runs: which of the waiting requests is next, what it begins with, and who makes room for it.
#include <algorithm>
#include <unordered_map>

#include "cache/sequence_image.hpp"
#include "engine/guarded.hpp"
#include "engine/scheduler.hpp"

namespace skvis {

// Before the first that is less urgent.
Scheduler::Requests::iterator Scheduler::place_for(int priority, bool first) {
  return std::find_if(waiting_.begin(), waiting_.end(), [&](const Request& request) {
    return first ? request.asked.priority <= priority : request.asked.priority < priority;
  });
}

// One that does not fit holds up those behind it, or it would never run.
void Scheduler::admit_waiting() {
  while (!waiting_.empty()) {
    const auto next = next_in_line();
    if (next == waiting_.end()) return;
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
  const auto first = fair_first();
  if (first == waiting_.end()) return first;
  const auto goes_on = [&](const Request& request) {
    return !request.paused && !held_back(request) && find(request).whole;
  };
  if (index_.figures().conversations == 0 || first->paused ||
      first->overtaken >= options_.most_overtaken || goes_on(*first) ||
      engine_.fits_now(first->result.prompt_tokens, first->limit)) {
    return first;
  }
  const auto end = place_for(first->asked.priority, false);
  const auto found = std::find_if(waiting_.begin(), end, goes_on);
  return found == end ? first : found;
}

// Of the most urgent ones: who was begun before; then, of the client that was served least, who
// came first. The end where all that wait follow others.
Scheduler::Requests::iterator Scheduler::fair_first() {
  auto best = waiting_.end();
  double least = 0;
  for (auto request = waiting_.begin(); request != waiting_.end(); ++request) {
    if (best != waiting_.end() && request->asked.priority < best->asked.priority) break;
    if (request->paused) return request;
    if (held_back(*request)) continue;
    const double served = shares_.served(request->asked.client);
    if (best != waiting_.end() && served >= least) continue;
    best = request;
    least = served;
  }
  return best;
}

// Is the prompt that it shares still to be read for another request?
bool Scheduler::held_back(const Request& request) const {
  if (request.asked.follows == 0) return false;
  for (const Requests* requests : {&running_, &waiting_}) {
    for (const Request& other : *requests) {
      if (other.id == request.asked.follows) return !other.decoding() && !other.ended;
    }
  }
  return false;
}

// A fork of a prompt that was read to its end just now.
bool Scheduler::follow(Request& follower, Request& leader) {
  const Conversation& read = *leader.conversation;
  const Quota quota = without(engine_.layout().worst_case(read.first_prompt, follower.limit),
                              read.sequence.lasting_pages());
  Pool& pool = engine_.pool();
  ReservationId reservation = kUnreserved;
  const auto reserve = [&] { return (reservation = pool.reserve(quota)) != kUnreserved; };
  if (!make_room(quota, reserve, index_.end())) return false;
  auto fork = read.sequence.fork(reservation);
  if (!fork) return false;
  follower.result.reused_tokens = follower.result.prompt_tokens;
  follower.admitted_at = index_.now();
  follower.conversation.emplace(Conversation{.sequence = std::move(*fork),
                                             .tokens = read.tokens,
                                             .first_prompt = read.first_prompt,
                                             .shareable = read.shareable});
  return true;
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
  const Quota quota = layout.worst_case(first_prompt, request.limit);
  const auto grow = [&] { return index_.grow(found.state, quota); };
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

}  // namespace skvis
