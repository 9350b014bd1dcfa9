// SPDX-License-Identifier: Apache-2.0
// A sequence that was written out and read back is the same, bit by bit; a damaged image is
// refused.
#include "cache/sequence_image.hpp"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstring>

#include "cache_testing.hpp"

namespace skvis {
namespace {

constexpr size_t kSlab = 64 << 10;

struct Case {
  std::string plan;
  std::vector<uint32_t> window = {};
};

const std::vector<Case> kCases = {
    {plan_text("f16", "f16", R"("settle": 64)")},
    {plan_text("int8", "int4", R"("settle": 48, "exact": 20, "sinks": 5)")},
    {plan_text("int8", "int8",
               R"("settle": 32, "sinks": 4, "recent": 9, "keep": {"selector": "streaming",
                  "table": [{"layers": "0", "heads": "0", "ratio": 0.1},
                            {"layers": "0", "heads": "1", "ratio": 0.9},
                            {"layers": "1", "heads": "*", "tokens": 40}]})")},
    {plan_text("int4 hadamard", "int4",
               R"("settle": 32, "sinks": 4, "exact": 16, "recent": 40,
                  "keep": {"selector": "snapkv", "ratio": 0.4, "observe": 8})")},
    {plan_text("int8", "int8", R"("settle": 32, "sinks": 4)"), {0, 40}},
    {plan_text("int8", "int8", R"("settle": 32, "sinks": 4, "recent": 10,
                                  "keep": {"selector": "tree", "tokens": 70})")},
    {plan_text("int8", "int8", R"("settle": 48, "sinks": 3, "exact": 6,
                                  "keep": {"selector": "h2o-grid", "ratio": 0.4})")},
};

struct Home {
  explicit Home(const Case& test)
      : pool(std::move(Pool::create(64 * kSlab, kSlab)).value()),
        layout(std::move(CacheLayout::create(
                             make_plan(test.plan, make_shape(2, 2, 2, 32, test.window)), pool))
                   .value()) {}
  SequenceCache open(uint32_t tokens) {
    return SequenceCache(layout, pool, pool.reserve(layout.worst_case(tokens, tokens)));
  }

  Pool pool;
  CacheLayout layout;
};

// Rows that depend on their place alone, settled at the grid.
void grow(SequenceCache& sequence, uint32_t end) {
  ThreadPool threads(1);
  while (sequence.length() < end) {
    const uint32_t begin = sequence.length();
    const uint32_t rows = sequence.slice(std::min(17u, end - begin));
    ASSERT_TRUE(sequence.append(rows).ok());
    write_rows(
        sequence, begin, begin + rows,
        [&](uint32_t head, Role role, uint32_t position, float* row) {
          for (uint32_t i = 0; i < 32; ++i) {
            row[i] = static_cast<float>(mix(head, position, i + 100 * (role == Role::key)) % 2001) /
                         1000.0f -
                     1.0f;
          }
        });
    sequence.commit(rows);
    if (sequence.layout().plan().settle.is_grid_point(sequence.committed())) {
      ASSERT_TRUE(settle(sequence, GivenStatistics(), threads).ok());
    }
  }
}

TEST(SequenceImage, what_is_read_back_is_what_was_written_and_goes_on_alike) {
  for (const Case& test : kCases) {
    for (const uint32_t tokens : {0, 3, 31, 64, 150, 333}) {
      Home home(test);
      SequenceCache stays = home.open(400);
      grow(stays, tokens);
      std::vector<std::byte> image;
      {
        SequenceCache leaves = home.open(400);
        grow(leaves, tokens);
        image = SequenceImage::write(leaves);
      }
      const PoolFigures before = home.pool.figures();
      auto back = SequenceImage::read(image, home.layout, home.pool,
                                      home.pool.reserve(home.layout.worst_case(400, 400)));
      ASSERT_TRUE(back.ok()) << back.error().message << " at " << tokens << ": " << test.plan;
      EXPECT_EQ(home.pool.figures(), home.pool.recount());
      EXPECT_EQ(home.pool.figures().used, 2 * before.used);
      EXPECT_EQ(SequenceImage::write(*back), image);
      grow(*back, 390);
      grow(stays, 390);
      EXPECT_EQ(SequenceImage::write(*back), SequenceImage::write(stays)) << test.plan;
    }
  }
}

TEST(SequenceImage, another_plan_or_a_damaged_image_is_refused_and_leaves_nothing_behind) {
  for (const Case& test : kCases) {
    Home home(test);
    std::vector<std::byte> image;
    {
      SequenceCache sequence = home.open(400);
      grow(sequence, 150);
      image = SequenceImage::write(sequence);
    }
    const auto read = [&](std::span<const std::byte> bytes) {
      const auto result = SequenceImage::read(bytes, home.layout, home.pool,
                                              home.pool.reserve(home.layout.worst_case(400, 400)));
      return result.ok();
    };
    EXPECT_TRUE(read(image));
    EXPECT_FALSE(read({}));
    EXPECT_FALSE(read(std::span(image).first(image.size() - 1)));
    // Behind the checksum, too, nothing may go wrong: headers and tables are changed at random.
    std::mt19937 random(1);
    for (int round = 0; round < 3000; ++round) {
      std::vector<std::byte> changed = image;
      const size_t sum = changed.size() - 8;
      const size_t at = round < 400 ? static_cast<size_t>(round) / 10 : random() % sum;
      changed[at] ^= static_cast<std::byte>(1 + random() % 255);
      if (round % 2 == 0) {
        EXPECT_FALSE(read(changed));
      }
      const uint64_t hash = XXH3_64bits(changed.data(), sum);
      std::memcpy(changed.data() + sum, &hash, sizeof hash);
      read(changed);  // may be taken where only a row's value changed
      ASSERT_EQ(home.pool.figures(), (PoolFigures{.free = home.pool.budget()}));
    }
    Home other(kCases[&test == &kCases[0] ? 1 : 0]);
    EXPECT_FALSE(SequenceImage::read(image, other.layout, other.pool,
                                     other.pool.reserve(other.layout.worst_case(400, 400)))
                     .ok());
  }
}

}  // namespace
}  // namespace skvis
