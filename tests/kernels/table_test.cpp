// SPDX-License-Identifier: Apache-2.0
#include "kernels/table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace skvis::kernels {
namespace {

TEST(KernelTable, every_available_level_can_be_forced_and_reports_itself) {
  const std::string before(level_name(active_kernels().level));
  for (const Level level : available_levels()) {
    ASSERT_TRUE(force_level(level_name(level)).ok());
    EXPECT_EQ(active_kernels().level, level);
    EXPECT_EQ(kernels_at(level).level, level);
  }
  ASSERT_TRUE(force_level(before).ok());
}

TEST(KernelTable, scalar_is_always_there_and_slowest) {
  ASSERT_FALSE(available_levels().empty());
  EXPECT_EQ(available_levels().front(), Level::scalar);
}

TEST(KernelTable, an_unknown_level_is_refused_with_the_list_and_changes_nothing) {
  const Kernels* before = &active_kernels();
  const auto result = force_level("avx9000");
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, testing::HasSubstr("avx9000"));
  EXPECT_THAT(result.error().message, testing::HasSubstr("scalar"));
  EXPECT_EQ(&active_kernels(), before);
}

#if defined(__x86_64__)
TEST(KernelTable, levels_match_the_cpu) {
  const auto has = [](Level level) {
    const auto levels = available_levels();
    return std::find(levels.begin(), levels.end(), level) != levels.end();
  };
  EXPECT_EQ(has(Level::avx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(has(Level::avx512_vnni),
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"));
  EXPECT_FALSE(has(Level::neon));
}
#endif

}  // namespace
}  // namespace skvis::kernels
