// SPDX-License-Identifier: Apache-2.0
// One pool of workers, owned by the engine. Work is a count of items; which worker takes which item
// is settled as it runs, so that a disturbed core costs its share and not the step. Results must
// therefore not depend on the worker.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace skvis {

class ThreadPool {
 public:
  // `threads` counts the calling thread, which works too: 1 starts no thread at all.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return workers_.size() + 1; }

  // Calls body(item, worker) for every item in [0, items), worker in [0, threads()), and returns
  // when all have run. One caller at a time; bodies may not call run() themselves or throw.
  template <typename Body>
  void run(size_t items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_erased(
        items,
        [](void* context, size_t item, size_t worker) {
          (*static_cast<Plain*>(context))(item, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* context, size_t item, size_t worker);
  struct Job {
    Call call = nullptr;
    void* context = nullptr;
    size_t items = 0;
  };

  void run_erased(size_t items, Call call, void* context);
  void work(size_t worker);
  void take_items(const Job& job, size_t worker);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Job job_;                         // written while no worker is inside a round
  std::atomic<uint64_t> round_{0};  // one more for every run()
  std::atomic<size_t> next_item_{0};
  std::atomic<size_t> working_{0};  // workers that have not finished the round
  std::atomic<bool> stop_{false};
};

// How many threads this process may use: CPU affinity and the cgroup's quota, not the host's count.
size_t available_threads();
// How much memory may still be taken without swapping: the host's MemAvailable and the cgroup's
// limit, whichever is less, in bytes.
size_t available_memory();
// Resident set size of this process in bytes.
size_t resident_memory();

}  // namespace skvis
