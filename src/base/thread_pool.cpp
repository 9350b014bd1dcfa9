// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace skvis {
namespace {

// A step consists of many short rounds; sleeping between two of them would cost more than they do.
constexpr int kSpinsBeforeSleep = 4000;

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

ThreadPool::ThreadPool(size_t threads) {
  for (size_t worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::take_items(const Job& job, size_t worker) {
  for (;;) {
    const size_t item = next_item_.fetch_add(1, std::memory_order_relaxed);
    if (item >= job.items) return;
    job.call(job.context, item, worker);
  }
}

void ThreadPool::run_erased(size_t items, Call call, void* context) {
  const Job job{call, context, items};
  if (workers_.empty() || items <= 1) {
    for (size_t item = 0; item < items; ++item) call(context, item, 0);
    return;
  }
  job_ = job;
  next_item_.store(0, std::memory_order_relaxed);
  working_.store(workers_.size(), std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    round_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  take_items(job, 0);
  for (int spins = 0; working_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpinsBeforeSleep) {
      pause_briefly();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::work(size_t worker) {
  uint64_t seen = 0;
  for (;;) {
    for (int spins = 0; spins < kSpinsBeforeSleep; ++spins) {
      if (round_.load(std::memory_order_acquire) != seen) break;
      pause_briefly();
    }
    if (round_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
    }
    seen = round_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    take_items(job_, worker);
    working_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

}  // namespace skvis
