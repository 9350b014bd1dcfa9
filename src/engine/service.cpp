// SPDX-License-Identifier: Apache-2.0
#include "engine/service.hpp"

#include <algorithm>

namespace skvis {

Service::Service(Engine& engine, size_t queue_limit, const SchedulerOptions& options)
    : engine_(engine), scheduler_(engine, options), queue_limit_(queue_limit) {
  publish();
  figures_.kv_budget = engine_.pool().budget();
  thread_ = std::thread([this] { work(); });
}

Service::~Service() {
  drain(std::chrono::milliseconds(0));
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Service::Ticket Service::submit(ServiceRequest request) {
  const std::lock_guard lock(mutex_);
  if (closing_ || (!request.continues && queued() >= queue_limit_)) return 0;
  auto entry = std::make_shared<Entry>();
  entry->ticket = next_ticket_++;
  entry->request = std::move(request);
  entries_.emplace(entry->ticket, entry);
  new_.push_back(entry);
  asleep_ = false;
  changed_.notify_all();
  return entry->ticket;
}

// Requests that wait, whatever the number of their parts.
size_t Service::queued() const {
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) {
    return !entry.second->begun && !entry.second->request.continues;
  }));
}

void Service::cancel(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(ticket); found != entries_.end()) {
    found->second->cancelled = true;
  }
}

void Service::drain(std::chrono::milliseconds deadline) {
  std::unique_lock lock(mutex_);
  closing_ = true;
  changed_.notify_all();
  const auto empty = [&] { return entries_.empty() && asleep_ && figures_.kept() == 0; };
  if (changed_.wait_for(lock, deadline, empty)) return;
  for (const auto& [ticket, entry] : entries_) entry->cancelled = true;
  changed_.wait(lock, empty);
}

ServiceFigures Service::figures() const {
  const std::lock_guard lock(mutex_);
  ServiceFigures figures = figures_;
  figures.waiting += new_.size();
  return figures;
}

void Service::work() {
  while (take_new()) {
    const bool more = scheduler_.step();
    const std::lock_guard lock(mutex_);
    publish();
    if (more || !new_.empty()) continue;
    if (closing_) {
      scheduler_.drop_idle();
      publish();
    }
    asleep_ = true;
    changed_.notify_all();
  }
}

// Hands new requests to the scheduler; sleeps while there is nothing to do. False: the thread ends.
bool Service::take_new() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || !asleep_ || (closing_ && figures_.kept() > 0); });
  if (stopping_ && entries_.empty()) return false;
  asleep_ = false;
  for (; !new_.empty(); new_.pop_front()) {
    Entry& entry = *new_.front();
    entry.id = scheduler_.submit(scheduled(new_.front()));
    ++figures_.waiting;
  }
  return true;
}

ScheduledRequest Service::scheduled(const std::shared_ptr<Entry>& entry) {
  ServiceRequest& request = entry->request;
  ScheduledRequest scheduled{.generation = std::move(request.generation),
                             .salt = request.salt,
                             .client = request.client,
                             .priority = request.priority,
                             .deadline = request.deadline};
  if (const auto leader = entries_.find(request.follows); leader != entries_.end()) {
    scheduled.follows = leader->second->id;
  }
  scheduled.callbacks.on_text = request.on_text;
  scheduled.callbacks.on_prompt = [this, entry](size_t done, size_t total) {
    {
      const std::lock_guard lock(mutex_);
      entry->begun = true;
      figures_.prompt_tokens += done - std::exchange(entry->prompt_read, done);
      publish();  // before anyone hears of it: the request no longer waits
    }
    if (entry->request.on_prompt) entry->request.on_prompt(done, total);
  };
  scheduled.callbacks.on_token = [this] {
    const std::lock_guard lock(mutex_);
    ++figures_.generated_tokens;
  };
  scheduled.callbacks.go_on = [entry] { return !entry->cancelled; };
  scheduled.on_done = [this, entry](const GenerationResult& result) { end(*entry, result); };
  scheduled.on_error = [this, entry](const Error& error) { end(*entry, error); };
  return scheduled;
}

// Figures first: who is told of the end may ask for them at once.
void Service::end(const Entry& entry, const Result<GenerationResult>& result) {
  {
    const std::lock_guard lock(mutex_);
    if (!result) {
      ++figures_.failed;
    } else {
      ++(result->finish == FinishReason::cancelled ? figures_.cancelled : figures_.finished);
      figures_.prefix_queries += result->prompt_tokens;
      figures_.prefix_hits += result->reused_tokens;
      figures_.prefix_bytes += engine_.layout().full_cache_bytes(result->reused_tokens);
    }
    publish();
  }
  if (result) {
    entry.request.on_done(*result);
  } else {
    entry.request.on_error(result.error());
  }
  const std::lock_guard lock(mutex_);
  entries_.erase(entry.ticket);
}

// With the mutex held, by the thread that steps.
void Service::publish() {
  const SchedulerFigures now = scheduler_.figures();
  figures_.running = now.running();
  figures_.waiting = now.waiting;
  figures_.idle = now.idle;
  figures_.idle_bytes = now.idle_bytes;
  figures_.points = now.points;
  figures_.dropped = now.dropped;
  figures_.preempted = now.preempted;
  figures_.shared_bytes = engine_.pool().shared_bytes();
  figures_.kv = engine_.pool().figures();
}

}  // namespace skvis
