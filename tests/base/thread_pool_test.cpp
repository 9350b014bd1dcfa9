// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

namespace skvis {
namespace {

// Sanitizers slow a round down many times; the races they look for show in fewer.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr size_t kRounds = 20'000;
#else
constexpr size_t kRounds = 100'000;
#endif

TEST(ThreadPoolTest, every_item_runs_exactly_once) {
  for (const size_t threads : {1, 2, 3, 4, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const size_t items : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<int> runs(items, 0);  // not atomic: one item belongs to one worker
      pool.run(items, [&](size_t item, size_t) { ++runs[item]; });
      EXPECT_EQ(runs, std::vector<int>(items, 1)) << threads << " threads, " << items << " items";
    }
  }
}

TEST(ThreadPoolTest, worker_numbers_are_below_the_number_of_threads_and_exclusive) {
  constexpr size_t kThreads = 4;
  ThreadPool pool(kThreads);
  std::vector<std::atomic<int>> inside(kThreads);
  std::atomic<bool> wrong = false;
  for (int round = 0; round < 200; ++round) {
    pool.run(50, [&](size_t, size_t worker) {
      if (worker >= kThreads || inside[worker].fetch_add(1) != 0) wrong = true;
      if (worker < kThreads) inside[worker].fetch_sub(1);
    });
  }
  EXPECT_FALSE(wrong);
}

TEST(ThreadPoolTest, one_thread_runs_items_in_order_on_the_caller) {
  ThreadPool pool(1);
  std::vector<size_t> order;
  const std::thread::id caller = std::this_thread::get_id();
  pool.run(100, [&](size_t item, size_t worker) {
    EXPECT_EQ(worker, 0u);
    EXPECT_EQ(std::this_thread::get_id(), caller);
    order.push_back(item);
  });
  std::vector<size_t> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST(ThreadPoolTest, all_threads_can_work_at_the_same_time) {
  constexpr size_t kThreads = 4;
  ThreadPool pool(kThreads);
  std::atomic<size_t> arrived = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  pool.run(kThreads, [&](size_t, size_t) {  // none returns before all have come
    arrived.fetch_add(1);
    while (arrived.load() < kThreads && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(arrived.load(), kThreads);
  EXPECT_LT(std::chrono::steady_clock::now(), deadline);
}

// What was written before run() is seen inside, and what was written inside is seen after it.
TEST(ThreadPoolTest, memory_is_handed_over_in_every_one_of_many_short_rounds) {
  for (const size_t threads : {2, 5}) {
    ThreadPool pool(threads);
    std::vector<uint64_t> input(5), output(5);
    // More threads than processors wait for each other in every round: fewer rounds do.
    const uint64_t rounds = threads == 2 ? kRounds : kRounds / 20;
    for (uint64_t round = 0; round < rounds; ++round) {
      const size_t items = round % 6;
      for (size_t i = 0; i < items; ++i) input[i] = round * 7 + i;
      pool.run(items, [&](size_t item, size_t) { output[item] = input[item] + round; });
      for (size_t i = 0; i < items; ++i) ASSERT_EQ(output[i], round * 8 + i) << "round " << round;
    }
  }
}

TEST(ThreadPoolTest, workers_that_fell_asleep_wake_again) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> runs = 0;
    pool.run(30, [&](size_t, size_t) { runs.fetch_add(1); });
    ASSERT_EQ(runs.load(), 30);
  }
}

// Per-item results do not depend on who computed them: bit for bit the same for 1 to 8 threads.
TEST(ThreadPoolTest, results_do_not_depend_on_the_number_of_threads) {
  const auto compute = [](size_t threads) {
    ThreadPool pool(threads);
    std::vector<double> sums(257);
    pool.run(sums.size(), [&](size_t item, size_t) {
      double sum = 0;
      for (size_t i = 1; i < 500; ++i) sum += 1.0 / static_cast<double>(i * (item + 1));
      sums[item] = sum;
    });
    return sums;
  };
  const std::vector<double> alone = compute(1);
  for (size_t threads = 2; threads <= 8; ++threads) EXPECT_EQ(compute(threads), alone) << threads;
}

TEST(ThreadPoolTest, slow_item_does_not_hold_up_the_others) {
  ThreadPool pool(2);
  std::atomic<size_t> done = 0;
  std::atomic<size_t> done_beside_the_slow_one = 0;
  pool.run(100, [&](size_t item, size_t) {
    if (item == 0) {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (done.load() < 99 && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::yield();
      }
      done_beside_the_slow_one = done.load();
    } else {
      done.fetch_add(1);
    }
  });
  EXPECT_EQ(done_beside_the_slow_one.load(), 99u);
}

TEST(ThreadPoolTest, pools_come_and_go_with_and_without_work) {
  for (int i = 0; i < 300; ++i) {
    ThreadPool pool(static_cast<size_t>(i % 4 + 1));
    if (i % 2 == 0) continue;
    std::atomic<int> runs = 0;
    pool.run(9, [&](size_t, size_t) { runs.fetch_add(1); });
    ASSERT_EQ(runs.load(), 9);
  }
}

TEST(ThreadPoolTest, const_callable_is_run_too) {
  ThreadPool pool(2);
  std::atomic<int> runs = 0;
  const auto body = [&runs](size_t, size_t) { runs.fetch_add(1); };
  pool.run(12, body);
  EXPECT_EQ(runs.load(), 12);
}

}  // namespace
}  // namespace skvis
