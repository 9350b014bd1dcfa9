// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "base/aligned.hpp"
#include "base/thread_pool.hpp"

namespace skvis {
namespace {

constexpr size_t kMebibyte = size_t{1} << 20;

// The first `count` processors of `allowed`.
cpu_set_t first_of(const cpu_set_t& allowed, int count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu = 0; cpu < CPU_SETSIZE && count > 0; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    CPU_SET(cpu, &set);
    --count;
  }
  return set;
}

size_t total_memory() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  size_t kibibytes = 0;
  file >> name >> kibibytes;
  return kibibytes * 1024;
}

TEST(LimitsTest, threads_follow_the_affinity_mask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  const size_t unbound = available_threads();
  ASSERT_GE(unbound, 1u);
  ASSERT_LE(unbound, static_cast<size_t>(CPU_COUNT(&before)));
  // On a thread of its own, so that the mask of this one stays.
  std::thread([&] {
    for (int count = 1; count <= CPU_COUNT(&before); ++count) {
      const cpu_set_t set = first_of(before, count);
      ASSERT_EQ(sched_setaffinity(0, sizeof set, &set), 0);
      EXPECT_EQ(available_threads(), std::min(unbound, static_cast<size_t>(count)));
    }
  }).join();
  EXPECT_EQ(available_threads(), unbound);
}

TEST(LimitsTest, available_memory_is_positive_and_below_what_the_machine_has) {
  EXPECT_GT(available_memory(), 0u);
  EXPECT_LE(available_memory(), total_memory());
}

// Sanitizers hold shadow memory beside what is touched, and keep what is freed.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kSlack = 1024 * kMebibyte;
#else
constexpr size_t kSlack = 16 * kMebibyte;
#endif

TEST(LimitsTest, resident_memory_follows_an_allocation_that_is_touched_and_freed) {
  constexpr size_t kSize = 128 * kMebibyte;
  const size_t before = resident_memory();
  ASSERT_GT(before, kMebibyte / 4);
  {
    AlignedBuffer<char> buffer(kSize);
    std::memset(buffer.data(), 1, buffer.size());
    EXPECT_GE(resident_memory(), before + kSize - 8 * kMebibyte);
    EXPECT_LE(resident_memory(), before + kSize + kSlack);
  }
  EXPECT_LE(resident_memory(), before + kSlack);
}

}  // namespace
}  // namespace skvis
