// SPDX-License-Identifier: Apache-2.0
#include "base/nearest.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace skvis {
namespace {

const std::vector<std::string_view> kWords = {"int4", "int8", "hadamard", "recent"};

TEST(Nearest, finds_dropped_changed_inserted_and_swapped_letters) {
  EXPECT_EQ(nearest_word("hadamrd", kWords), "hadamard");
  EXPECT_EQ(nearest_word("hadamert", kWords), "hadamard");
  EXPECT_EQ(nearest_word("reecent", kWords), "recent");
  EXPECT_EQ(nearest_word("rceent", kWords), "recent");
  EXPECT_EQ(nearest_word("INT8", kWords), "int8");
}

TEST(Nearest, the_first_of_equally_near_words_wins) {
  EXPECT_EQ(nearest_word("int6", kWords), "int4");
}

TEST(Nearest, far_empty_and_endless_words_have_none) {
  EXPECT_EQ(nearest_word("zzz", kWords), "");
  EXPECT_EQ(nearest_word("", kWords), "");
  EXPECT_EQ(nearest_word(std::string(100000, 'a'), kWords), "");
  EXPECT_EQ(nearest_word("int4", {}), "");
}

TEST(Nearest, a_suggestion_names_the_near_word_or_all_of_them) {
  EXPECT_EQ(suggestion("recnt", kWords), "; did you mean 'recent'?");
  EXPECT_EQ(suggestion("q", kWords), "; expected one of int4, int8, hadamard, recent");
}

TEST(Nearest, quotes_are_short_and_printable) {
  EXPECT_EQ(in_quotes("a\nb\x1b"), "'a?b?'");
  EXPECT_EQ(in_quotes(std::string(200, 'x')), "'" + std::string(80, 'x') + "...'");
}

}  // namespace
}  // namespace skvis
