// SPDX-License-Identifier: Apache-2.0
#include "base/result.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace skvis {
namespace {

Result<int> parse_digit(char c) {
  if (c < '0' || c > '9') return fail("'{}' is no digit", c);
  return c - '0';
}

Result<int> add_digits(char a, char b, int* calls) {
  SKVIS_TRY(const int first, parse_digit(a));
  ++*calls;
  SKVIS_TRY(const int second, parse_digit(b));
  ++*calls;
  return first + second;
}

Result<void> check_digit(char c) {
  SKVIS_CHECK(parse_digit(c));
  return {};
}

Result<std::string> check_then_name(char c) {
  SKVIS_CHECK(check_digit(c));
  return std::string(1, c);
}

TEST(ResultTest, value_is_kept) {
  const Result<int> result = parse_digit('7');
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(static_cast<bool>(result));
  EXPECT_EQ(*result, 7);
}

TEST(ResultTest, failure_carries_its_formatted_message) {
  const Result<int> result = parse_digit('x');
  ASSERT_FALSE(result.ok());
  EXPECT_FALSE(static_cast<bool>(result));
  EXPECT_EQ(result.error().message, "'x' is no digit");
}

TEST(ResultTest, try_hands_on_the_first_error_and_stops_there) {
  int calls = 0;
  EXPECT_EQ(*add_digits('4', '5', &calls), 9);
  EXPECT_EQ(calls, 2);
  calls = 0;
  EXPECT_EQ(add_digits('4', 'y', &calls).error().message, "'y' is no digit");
  EXPECT_EQ(calls, 1);
}

TEST(ResultTest, check_hands_an_error_over_to_another_type) {
  EXPECT_TRUE(check_digit('1').ok());
  EXPECT_EQ(*check_then_name('1'), "1");
  EXPECT_EQ(check_then_name('z').error().message, "'z' is no digit");
}

TEST(ResultTest, value_that_only_moves_is_moved_out) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(3);
  const int* address = result->get();
  const std::unique_ptr<int> taken = *std::move(result);
  EXPECT_EQ(taken.get(), address);
}

TEST(ResultTest, text_is_a_value_and_never_an_error) {
  const Result<std::string> result = std::string("looks like an error");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(*result, "looks like an error");
}

}  // namespace
}  // namespace skvis
