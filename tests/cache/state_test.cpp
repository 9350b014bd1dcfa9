// SPDX-License-Identifier: Apache-2.0
// What rows carry goes where they go; rows that merge change their target and nothing else.
#include <gtest/gtest.h>

#include "cache_testing.hpp"

namespace skvis {
namespace {

constexpr uint32_t kDim = 16;

class RowState : public ::testing::Test {
 protected:
  void create(const std::string& plan, uint32_t kv_heads = 2) {
    sequence_.reset();
    pool_ = std::make_unique<Pool>(std::move(Pool::create(16 << 20, 64 << 10)).value());
    auto layout = CacheLayout::create(make_plan(plan, make_shape(2, kv_heads, 2, kDim)), *pool_);
    ASSERT_TRUE(layout.ok()) << layout.error().message;
    layout_ = std::make_unique<CacheLayout>(std::move(layout).value());
    sequence_ = std::make_unique<SequenceCache>(*layout_, *pool_, kUnreserved);
  }

  // Every row carries a number that only depends on head and position.
  static float mark(uint32_t head, uint32_t position) {
    return static_cast<float>(mix(head, position) % 100000);
  }
  void append(uint32_t rows) {
    const uint32_t begin = sequence_->length();
    ASSERT_TRUE(sequence_->append(rows).ok());
    write_rows(*sequence_, begin, begin + rows,
               [](uint32_t head, Role role, uint32_t position, float* row) {
                 for (uint32_t c = 0; c < kDim; ++c) {
                   row[c] =
                       static_cast<float>(mix(head * 2 + (role == Role::key), position, c) % 2001) /
                           1000.0f -
                       1.0f;
                 }
               });
    for (uint32_t head = 0; head < layout_->heads(); ++head) {
      for (uint32_t position = begin; position < begin + rows; ++position) {
        *sequence_->exact_state(head, position) = mark(head, position);
      }
    }
    sequence_->commit(rows);
  }
  void grow(uint32_t tokens) {
    while (sequence_->length() < tokens) {
      append(sequence_->slice(std::min(tokens - sequence_->length(), 37u)));
      if (!layout_->plan().settle.is_grid_point(sequence_->length())) continue;
      ASSERT_TRUE(settle(*sequence_, statistics_, threads_).ok());
    }
  }
  void expect_marks(SequenceCache& sequence) {
    for (uint32_t head = 0; head < layout_->heads(); ++head) {
      for (const LiveRow& row : live_rows(sequence, head, sequence.length())) {
        ASSERT_EQ(*row_state(sequence, head, row), mark(head, row.position))
            << "head " << head << " position " << row.position;
      }
    }
  }

  std::unique_ptr<Pool> pool_;
  std::unique_ptr<CacheLayout> layout_;
  std::unique_ptr<SequenceCache> sequence_;
  GivenStatistics statistics_;
  ThreadPool threads_{2};
};

TEST_F(RowState, moves_with_its_row_through_settling_and_repacking) {
  for (const std::string amount : {R"("ratio": 0.4)", R"("tokens": 60)"}) {
    create(plan_text("int8", "int8",
                     R"("settle": 64, "sinks": 4, "exact": 8, "recent": 12,
        "keep": {"selector": "h2o-grid", )" +
                         amount + "}"));
    grow(400);
    const size_t rows = sequence_->rows_held();
    EXPECT_LT(rows, 4 * 250u);
    expect_marks(*sequence_);
  }
}

TEST_F(RowState, a_fork_has_its_own) {
  create(plan_text("int8", "int8", R"("settle": 64, "sinks": 4, "exact": 8,
      "keep": {"selector": "h2o-grid", "tokens": 60})"));
  grow(300);
  auto fork = sequence_->fork(kUnreserved);
  ASSERT_TRUE(fork.ok());
  expect_marks(*fork);
  for (uint32_t head = 0; head < layout_->heads(); ++head) {
    for (const LiveRow& row : live_rows(*fork, head, fork->length())) {
      *row_state(*fork, head, row) = -1;
    }
  }
  expect_marks(*sequence_);
}

TEST_F(RowState, a_row_that_was_rolled_back_leaves_nothing_to_the_next_at_its_place) {
  create(plan_text("int8", "int8", R"("settle": 64, "sinks": 4,
      "keep": {"selector": "h2o-grid", "tokens": 60})"));
  append(10);
  ASSERT_TRUE(sequence_->append(5).ok());
  for (uint32_t position = 10; position < 15; ++position) {
    *sequence_->exact_state(0, position) = 7;
  }
  sequence_->rollback(10);
  ASSERT_TRUE(sequence_->append(5).ok());
  for (uint32_t position = 10; position < 15; ++position) {
    EXPECT_EQ(*sequence_->exact_state(0, position), 0);
  }
}

// Card of EMS: a row that equals a kept one merges into it and changes nothing.
TEST_F(RowState, an_exact_duplicate_merges_without_loss) {
  create(plan_text("f32", "f32", R"("settle": "prompt", "sinks": 0, "exact_type": "f32",
      "keep": {"selector": "ems", "tokens": 63, "observe": 8, "mass": 1}, "recent": 8)"),
         1);
  ASSERT_TRUE(sequence_->append(64).ok());
  const auto fill = [](uint32_t head, Role role, uint32_t position, float* row) {
    const uint32_t source = position == 40 ? 7 : position;
    for (uint32_t c = 0; c < kDim; ++c) {
      row[c] = static_cast<float>(mix(head * 2 + (role == Role::key), source, c) % 2001) / 1000.0f -
               1.0f;
    }
  };
  write_rows(*sequence_, 0, 64, fill);
  for (uint32_t head = 0; head < 2; ++head) {
    for (uint32_t position = 0; position < 64; ++position) {
      *sequence_->exact_state(head, position) =
          position == 40 ? 1e-3f : static_cast<float>(64 - position);
    }
  }
  sequence_->commit(64);
  class NoColumns final : public AttentionStatistics {
    void column_sums(const SequenceCache&, uint32_t, uint32_t, GroupReduce, uint32_t,
                     std::span<float> out) const override {
      std::fill(out.begin(), out.end(), 0.0f);
    }
  };
  ASSERT_TRUE(settle(*sequence_, NoColumns(), threads_).ok());
  for (uint32_t head = 0; head < 2; ++head) {
    const auto rows = live_rows(*sequence_, head, 64);
    ASSERT_EQ(rows.size(), 63u);
    std::vector<float> decoded(63 * kDim), expected(kDim);
    for (const Role role : {Role::key, Role::value}) {
      decode_rows(*sequence_, head, role, rows, decoded.data());
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_NE(rows[i].position, 40u);
        fill(head, role, rows[i].position, expected.data());
        for (uint32_t c = 0; c < kDim; ++c) {
          ASSERT_NEAR(decoded[i * kDim + c], expected[c], 1e-6) << rows[i].position;
        }
      }
    }
  }
}

}  // namespace
}  // namespace skvis
