// SPDX-License-Identifier: Apache-2.0
#include "engine/service.hpp"

#include <algorithm>

namespace skvis {

Service::Service(Engine& engine, size_t queue_limit) : engine_(engine), queue_limit_(queue_limit) {
  totals_.kv = engine_.pool().figures();
  totals_.kv_budget = engine_.pool().budget();
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
  if (closing_ || (!request.continues && waiting_.size() >= queue_limit_)) return 0;
  auto entry = std::make_shared<Entry>();
  entry->ticket = next_ticket_++;
  entry->request = std::move(request);
  if (entry->request.continues) {
    waiting_.push_front(entry);
  } else {
    waiting_.push_back(entry);
  }
  changed_.notify_all();
  return entry->ticket;
}

void Service::cancel(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  if (running_ && running_->ticket == ticket) running_->cancelled = true;
  for (const auto& entry : waiting_) {
    if (entry->ticket == ticket) entry->cancelled = true;
  }
}

void Service::drain(std::chrono::milliseconds deadline) {
  std::unique_lock lock(mutex_);
  closing_ = true;
  const auto empty = [&] { return waiting_.empty() && !running_; };
  if (changed_.wait_for(lock, deadline, empty)) return;
  if (running_) running_->cancelled = true;
  for (const auto& entry : waiting_) entry->cancelled = true;
  changed_.wait(lock, empty);
}

ServiceFigures Service::figures() const {
  const std::lock_guard lock(mutex_);
  ServiceFigures figures = totals_;
  figures.running = running_ ? 1 : 0;
  figures.waiting = waiting_.size();
  return figures;
}

void Service::work() {
  for (;;) {
    std::shared_ptr<Entry> entry;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      entry = running_ = waiting_.front();
      waiting_.pop_front();
    }
    serve(*entry);
    {
      const std::lock_guard lock(mutex_);
      running_.reset();
    }
    changed_.notify_all();
  }
}

void Service::serve(Entry& entry) {
  const ServiceRequest& request = entry.request;
  const auto publish = [&] {
    const std::lock_guard lock(mutex_);
    totals_.kv = engine_.pool().figures();
  };
  GenerationCallbacks callbacks;
  callbacks.on_text = request.on_text;
  size_t prompt_read = 0;
  callbacks.on_prompt = [&](size_t done, size_t total) {
    {
      const std::lock_guard lock(mutex_);
      totals_.prompt_tokens += done - prompt_read;
    }
    prompt_read = done;
    if (request.on_prompt) request.on_prompt(done, total);
  };
  callbacks.on_token = [&] {
    const std::lock_guard lock(mutex_);
    ++totals_.generated_tokens;
  };
  callbacks.go_on = [&] {
    publish();
    return !entry.cancelled;
  };
  Result<GenerationResult> result = GenerationResult{};
  result->finish = FinishReason::cancelled;
  try {
    if (!entry.cancelled) result = Session(engine_).generate(request.generation, callbacks);
  } catch (const std::exception& problem) {  // memory: the next request may do with less
    result = fail("{}", problem.what());
  }
  {
    const std::lock_guard lock(mutex_);
    if (!result) {
      ++totals_.failed;
    } else {
      ++(result->finish == FinishReason::cancelled ? totals_.cancelled : totals_.finished);
    }
    totals_.kv = engine_.pool().figures();
  }
  if (result) {
    request.on_done(*result);
  } else {
    request.on_error(result.error());
  }
}

}  // namespace skvis
