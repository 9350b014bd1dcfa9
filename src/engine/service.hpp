// SPDX-License-Identifier: Apache-2.0
// Requests of many clients before one engine: a bounded queue and the thread that runs the
// scheduler. What is accepted is finished or answered for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/result.hpp"
#include "engine/scheduler.hpp"

namespace skvis {

// A request in the queue or running. Callbacks come from the service's thread; exactly one of
// on_done and on_error is called, last.
struct ServiceRequest {
  GenerationRequest generation;
  std::function<void(std::string_view text)> on_text;
  std::function<void(size_t done, size_t total)> on_prompt;  // may be empty
  std::function<void(const GenerationResult&)> on_done;
  std::function<void(const Error&)> on_error;
  std::string salt = {};  // see ScheduledRequest, for these four
  std::string client = {};
  int priority = 0;
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  // A further part of a request that was accepted before: never refused for a full queue.
  bool continues = false;
  uint64_t follows = 0;  // the ticket of a request with the same prompt, see ScheduledRequest
};

struct ServiceFigures {
  size_t running = 0;
  size_t waiting = 0;
  size_t idle = 0;        // conversations kept between turns
  size_t points = 0;      // states at grid points that other prompts may begin with
  size_t idle_bytes = 0;  // of pages that both hold; part of what kv says
  uint64_t dropped = 0;   // kept conversations that left for room
  uint64_t finished = 0;
  uint64_t cancelled = 0;
  uint64_t failed = 0;
  uint64_t prompt_tokens = 0;   // read
  uint64_t prefix_queries = 0;  // tokens of prompts that were looked up
  uint64_t prefix_hits = 0;     // those that had been read before
  uint64_t prefix_bytes = 0;    // what the full cache would have taken for them
  uint64_t preempted = 0;
  uint64_t generated_tokens = 0;
  size_t shared_bytes = 0;  // what shared pages would take beyond what they do
  PoolFigures kv;
  size_t kv_budget = 0;
  size_t kept() const { return idle + points; }
};

class Service {
 public:
  using Ticket = uint64_t;
  Service(Engine& engine, size_t queue_limit, const SchedulerOptions& options = {});
  ~Service();  // cancels what is left

  // 0: the queue is full, or the service is closing.
  Ticket submit(ServiceRequest request);
  // The request ends within one step; its on_done then says cancelled. Unknown tickets are ignored.
  void cancel(Ticket ticket);
  // No new requests. What runs and waits may finish until the deadline, then it is cancelled.
  // Returns when nothing is left; kept conversations are gone then, too.
  void drain(std::chrono::milliseconds deadline);
  ServiceFigures figures() const;

 private:
  struct Entry {
    Ticket ticket = 0;
    ServiceRequest request;
    size_t prompt_read = 0;
    Scheduler::RequestId id = 0;  // once the scheduler knows it
    bool begun = false;           // no longer waits
    std::atomic<bool> cancelled{false};
  };
  using Entries = std::map<Ticket, std::shared_ptr<Entry>>;

  void work();
  bool take_new();
  ScheduledRequest scheduled(const std::shared_ptr<Entry>& entry);
  void end(const Entry& entry, const Result<GenerationResult>& result);
  void publish();
  size_t queued() const;

  Engine& engine_;
  Scheduler scheduler_;  // the thread's alone
  const size_t queue_limit_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Entry>> new_;  // the scheduler does not know them yet
  Entries entries_;                         // all that have not ended
  Ticket next_ticket_ = 1;
  bool closing_ = false;   // submit() refuses
  bool stopping_ = false;  // the thread ends
  bool asleep_ = false;    // nothing is left, the thread has let go of everything
  ServiceFigures figures_;
  std::thread thread_;
};

}  // namespace skvis
