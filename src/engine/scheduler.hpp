// SPDX-License-Identifier: Apache-2.0
// Many requests before one engine. A request is admitted when its worst case can be reserved: the
// most urgent first, of these the client's that was served least, of its own in the order of
// arrival. All admitted ones decode together, and beside them one slice of one prompt
// is read. What a conversation has read stays after its answer, and so do the grid points on the
// way there (cache/prefix_index.hpp): a prompt that begins with the same tokens reads only what is
// new. All that is kept leaves, least valuable first, when admission needs the room.
//
// Every request ends in exactly one of on_done and on_error, from within step(). Not thread-safe:
// one thread owns it, and the engine's pool while it steps.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "cache/prefix_index.hpp"
#include "engine/answer.hpp"
#include "engine/client_shares.hpp"
#include "engine/generation.hpp"
#include "engine/prompt_pace.hpp"

namespace skvis {

struct SchedulerOptions {
  uint32_t most_running = 32;  // requests that are answered at once
  // How often one that waits for memory may be overtaken by next turns of kept conversations, whose
  // memory is theirs already. 0: the order of arrival, always.
  uint32_t most_overtaken = 64;
  // Prompts which begin alike share what was read: states at grid points are published. False: only
  // conversations go on.
  bool share_prefixes = true;
  // Rows of a step: one of each answer, the rest of a prompt (some of it in any case).
  uint32_t step_tokens = 288;
  // Beside answers a prompt may make a step so many times as long as it is without; 0: as long as
  // it gets.
  double prompt_stretch = 2;
  // Answers wait while a prompt is read: they then go on in larger batches, after longer pauses.
  bool prompts_first = false;
};

struct ScheduledRequest {
  GenerationRequest generation;
  GenerationCallbacks callbacks =
      {};  // on_prompt(0, n) when reading begins; go_on before every step
  std::function<void(const GenerationResult&)> on_done = {};
  std::function<void(const Error&)> on_error = {};
  std::string salt = {};    // what is kept is found again only by requests of the same salt
  std::string client = {};  // of one priority, whose client was served least comes first
  int priority = 0;         // higher ones first
  // A request with the same prompt: this one waits until that prompt is read, and begins with a
  // fork of what was read if there is room for it then. 0: none.
  uint64_t follows = 0;
  // Ends then, with what there is of the answer.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

struct SchedulerFigures {
  size_t waiting = 0;
  size_t reading = 0;      // admitted, the prompt not read to its end
  size_t decoding = 0;     // admitted, the answer has begun
  size_t idle = 0;         // kept conversations without a request
  size_t points = 0;       // published states at grid points
  size_t idle_bytes = 0;   // of pages that both hold, each counted once
  uint64_t dropped = 0;    // conversations that left for room, ever
  uint64_t preempted = 0;  // requests that were written out, ever
  size_t running() const { return reading + decoding; }
};

// What the last step consisted of.
struct StepReport {
  uint32_t prompt_rows = 0;
  uint32_t generated_rows = 0;
  StepSeconds seconds;
};

class Scheduler {
 public:
  using RequestId = uint64_t;
  explicit Scheduler(Engine& engine, const SchedulerOptions& options = {});
  ~Scheduler();  // ends what is left as cancelled

  RequestId submit(ScheduledRequest request);
  // The request ends in the next step, and its memory is free then. False: there is none.
  bool cancel(RequestId id);
  // Admits what fits and runs one step. False: there is nothing to do.
  bool step();
  void drop_idle();

  SchedulerFigures figures() const;
  const StepReport& last_step() const { return last_step_; }

 private:
  // What a conversation has read, and where.
  struct Conversation {
    SequenceCache sequence;
    std::vector<uint32_t> tokens = {};
    uint32_t first_prompt = 0;  // its reservation follows from this and the most tokens
    bool shareable = true;      // its state follows from its tokens alone
  };
  // A conversation that was written out.
  struct Paused {
    std::vector<std::byte> image;
    std::vector<uint32_t> tokens;
    uint32_t first_prompt = 0;
    bool shareable = true;
  };
  struct Request {
    RequestId id = 0;
    ScheduledRequest asked;
    std::optional<Answer> answer;
    std::optional<Conversation> conversation;  // once admitted
    std::optional<Paused> paused;
    GenerationResult result;
    uint32_t limit = 0;  // tokens of prompt and answer
    uint32_t next = 0;   // decoding: the token to read
    uint32_t overtaken = 0;
    uint64_t admitted_at = 0;  // by the index's clock
    bool begun = false;        // reading the prompt
    bool cancelled = false;
    bool late = false;
    std::optional<Error> failure;
    bool ended = false;
    std::chrono::steady_clock::time_point since;  // reading, then decoding, began

    SequenceCache& sequence() { return conversation->sequence; }
    std::vector<uint32_t>& tokens() { return conversation->tokens; }
    bool decoding() const { return answer.has_value(); }
  };
  using Requests = std::list<Request>;

  void ask_who_goes_on();
  Result<void> check(Request& request) const;
  void admit_waiting();
  Requests::iterator next_in_line();
  Requests::iterator fair_first();
  bool held_back(const Request& request) const;
  bool admit(Request& request);
  Result<bool> resume(Request& request);
  bool preempt_for(const Request& request);
  Requests::iterator place_for(int priority, bool first);
  PrefixIndex::Found find(const Request& request);
  bool take(Request& request, PrefixIndex::Found found);
  bool begin_with(Request& request, PrefixIndex::Found found);
  bool begin_anew(Request& request);
  bool make_room(const Quota& quota, const std::function<bool()>& reserve,
                 PrefixIndex::Handle spared);
  PrefixIndex::Handle least_needed(PrefixIndex::Handle spared);
  uint32_t rows_beside(uint32_t answers, uint32_t most) const;
  std::vector<StepWork> compose(std::vector<Request*>& taking_part);
  bool begin_reading(Request& request);
  Result<void> run(const std::vector<StepWork>& work);
  void advance(Request& request, const StepWork& work, std::span<const float> logits);
  void publish(Request& request, bool prompt_ends);
  void begin_answer(Request& request);
  void begin_followers(Request& leader, std::span<const float> logits);
  bool follow(Request& follower, Request& leader);
  void sample(Request& request, std::span<const float> logits);
  void fail_request(Request& request, Error error);
  void finish(Request& request);
  void answer_ended();

  Engine& engine_;
  const SchedulerOptions options_;
  Requests waiting_;
  Requests running_;  // in the order of admission
  Requests ended_;
  PrefixIndex index_;
  PromptPace pace_;
  ClientShares shares_;
  std::vector<float> logits_;
  StepReport last_step_;
  RequestId next_id_ = 1;
  uint64_t preempted_ = 0;
};

}  // namespace skvis
