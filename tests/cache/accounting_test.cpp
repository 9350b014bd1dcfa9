// SPDX-License-Identifier: Apache-2.0
// The pool's figures against a walk over all tables after every operation on sequences, and that a
// reservation is enough for whatever its sequence does.
#include <gtest/gtest.h>

#include <memory>

#include "cache_testing.hpp"

namespace skvis {
namespace {

constexpr size_t kSlab = 32 << 10;

struct Case {
  std::string name;
  std::string plan;
  std::vector<uint32_t> window = {};
  uint32_t head_dim = 32;
};

std::vector<Case> cases() {
  const std::string ragged =
      R"("keep": {"selector": "streaming", "table": [{"layers": "0", "heads": "0", "ratio": 0.1},)"
      R"({"layers": "0", "heads": "1", "ratio": 0.9}, {"layers": "1", "heads": "0", "tokens": 40},)"
      R"({"layers": "1", "heads": "1", "ratio": 1}]})";
  return {
      {"full", plan_text("f16", "f16", R"("settle": 64)")},
      {"int8", plan_text("int8", "int8", R"("settle": 32)")},
      {"int8_tail", plan_text("int8", "int4", R"("settle": 48, "exact": 20, "sinks": 5)")},
      {"long_tail", plan_text("int8", "int8", R"("settle": 32, "exact": 100)")},
      {"f32_sinks_of_a_page",
       plan_text("f32", "f32", R"("settle": 64, "sinks": 64, "exact_type": "f32")")},
      {"ragged", plan_text("int8", "int8", R"("settle": 32, "sinks": 4, "recent": 9, )" + ragged)},
      {"tokens", plan_text("int8", "int8",
                           R"("settle": 32, "sinks": 4, "exact": 8, "recent": 20,
                              "keep": {"selector": "snapkv", "tokens": 70, "observe": 8})")},
      {"bytes", plan_text("int8", "int4",
                          R"("settle": 32, "sinks": 2, "exact": 10, "recent": 10,
                             "keep": {"selector": "snapkv", "bytes": 30000, "observe": 4,
                                      "heads": "0"})")},
      {"ratio",
       plan_text("int4 hadamard", "int4",
                 R"("settle": 32, "sinks": 4, "exact": 16, "recent": 40, "settle_end": true,
                             "keep": {"selector": "snapkv", "ratio": 0.4, "observe": 8})")},
      {"pyramid", plan_text("int8", "int4",
                            R"("settle": 32, "sinks": 2, "exact": 8,
                               "keep": {"selector": "keydiff", "ratio": 0.6, "budget": "pyramid",
                                        "beta": 3})")},
      {"ada", plan_text("int8", "int8",
                        R"("settle": 32, "sinks": 4, "exact": 8, "recent": 12,
                           "keep": {"selector": "snapkv", "ratio": 0.4, "observe": 4,
                                    "budget": "ada", "safeguard": 0.1})")},
      {"cross_layer_tokens", plan_text("int8", "int4",
                                       R"("settle": 32, "sinks": 2, "exact": 6,
                                          "keep": {"selector": "knorm", "tokens": 60,
                                                   "budget": "cross-layer", "safeguard": 0})")},
      {"cross_layer_prompt", plan_text("int8", "int8",
                                       R"("settle": "prompt", "sinks": 4, "recent": 6,
                                          "keep": {"selector": "keydiff", "ratio": 0.3,
                                                   "budget": "cross-layer"})")},
      {"totals", plan_text("int8", "int8",
                           R"("settle": 32, "sinks": 4, "exact": 8,
                              "keep": {"selector": "h2o-grid", "ratio": 0.4})")},
      {"totals_ada", plan_text("int8", "int4",
                               R"("settle": 48, "sinks": 3, "exact": 6,
                                  "keep": {"selector": "h2o-grid", "tokens": 60,
                                           "budget": "ada"})")},
      {"tree", plan_text("int8", "int8",
                         R"("settle": 32, "sinks": 4, "recent": 10,
                            "keep": {"selector": "tree", "tokens": 70})")},
      {"moments", plan_text("int8", "int8",
                            R"("settle": 32, "sinks": 4,
                               "keep": {"selector": "expected-attention", "ratio": 0.5,
                                        "heads": "1"})")},
      {"merging", plan_text("int8", "int8",
                            R"("settle": "prompt", "sinks": 4, "recent": 8,
                               "keep": {"selector": "ems", "ratio": 0.3, "observe": 8})")},
      {"scoring_pass", plan_text("int8", "int8",
                                 R"("settle": "prompt", "sinks": 4, "exact": 5,
                                    "keep": {"selector": "kvzip", "ratio": 0.4, "chunk": 60,
                                             "budget": "cross-layer", "safeguard": 0})")},
      {"prompt", plan_text("int8", "int8", R"("settle": "prompt", "exact": 10, "sinks": 3)")},
      {"prompt_ratio", plan_text("int8", "int8",
                                 R"("settle": "prompt", "sinks": 4, "recent": 16,
                                    "keep": {"selector": "snapkv", "ratio": 0.5, "observe": 16})")},
      {"positions", plan_text("int8", "int8", R"("settle": [40, 200, 230], "exact": 12)")},
      {"sliding", plan_text("int8", "int8", R"("settle": 32, "sinks": 4)"), {0, 40}},
      {"sliding_far", plan_text("int8", "int8", R"("settle": 256, "exact": 8)"), {24, 100}},
      {"sliding_prompt",
       plan_text("int8", "int8",
                 R"("settle": "prompt", "sinks": 4, "recent": 8, 
                    "keep": {"selector": "streaming", "ratio": 0.3})"),
       {0, 33}},
      {"never", plan_text("int8", "int8", R"("settle": 65536)")},
  };
}

struct Sequence {
  std::unique_ptr<SequenceCache> cache;
  Quota quota;  // empty: unreserved
  uint32_t limit = 0;
  uint32_t first_prompt = 0;  // where a plan that settles at the prompt's end does so first
  bool had_rows = false;
  std::set<PageId> given_up;  // to forks
};

class Accounting : public ::testing::TestWithParam<size_t> {
 protected:
  Accounting() : test_(cases()[GetParam()]), random_(static_cast<uint32_t>(GetParam() + 1)) {}

  size_t pick(size_t count) { return random_() % count; }
  uint32_t range(uint32_t low, uint32_t high) {
    return low + static_cast<uint32_t>(pick(high - low + 1));
  }

  void create(size_t slabs) {
    shape_ = make_shape(2, 2, 2, test_.head_dim, test_.window);
    pool_ = std::make_unique<Pool>(std::move(Pool::create(slabs * kSlab, kSlab)).value());
    auto layout = CacheLayout::create(make_plan(test_.plan, shape_), *pool_);
    ASSERT_TRUE(layout.ok()) << layout.error().message;
    layout_ = std::make_unique<CacheLayout>(std::move(layout).value());
  }
  const SettleRule& rule() const { return layout_->plan().settle; }

  void check() const {
    MemoryWalk walk(*pool_, kSlab);
    for (const Sequence& sequence : sequences_) {
      walk.add(*sequence.cache, sequence.quota, sequence.had_rows, sequence.given_up);
    }
    walk.expect_figures();
  }

  bool due(const Sequence& sequence) const {
    const uint32_t at = sequence.cache->committed();
    if (at != sequence.cache->length() || at == 0) return false;
    return rule().is_grid_point(at) || (rule().at_prompt_end && at == sequence.first_prompt);
  }

  // Pages that stay as they are until the sequence is closed: full of rows that nothing drops
  // again.
  std::set<PageId> lasting(const SequenceCache& cache) const {
    std::set<PageId> pages;
    for (uint32_t i = 0; i < layout_->heads(); ++i) {
      const HeadLayout& head = layout_->head(i);
      for (const PageEntry& entry : cache.head(i).sealed.pages) {
        if (entry.rows() < kPageSlots || head.window > 0) continue;
        const bool judged = head.judged_once && entry.position(kPageSlots - 1) < cache.judged_end();
        if (!head.selectable || judged) pages.insert(entry.page);
      }
    }
    return pages;
  }

  // What a scoring pass does to the cache: rows that repeat a part of the prompt come and go.
  Result<void> pass(SequenceCache& cache, bool watched) {
    const uint32_t length = cache.length();
    const uint32_t part = layout_->needs().scoring_pass;
    uint32_t begin = cache.all_exact() ? 0 : cache.open_begin();
    for (; part > 0 && begin < length; begin += part) {
      uint32_t left = std::min(part, length - begin) + kMostInstruction;
      while (left > 0) {
        const uint32_t rows = std::min(left, range(1, 90));
        SKVIS_CHECK(cache.append(rows));
        if (watched) check();
        left -= rows;
      }
      cache.rollback(length);
    }
    return {};
  }

  // One random operation; false: the sequence is to be closed.
  bool act(Sequence& sequence) {
    SequenceCache& cache = *sequence.cache;
    if (settle_next_ == &sequence) {
      settle_next_ = nullptr;
      const auto passed = pass(cache, settled_ < 30);
      EXPECT_TRUE(passed.ok() || sequence.quota.empty()) << passed.error().message;
      if (!passed) return false;
      const auto settled = settle(cache, GivenStatistics(), threads_);
      ++settled_;
      EXPECT_TRUE(settled.ok() || sequence.quota.empty()) << settled.error().message;
      return settled.ok();
    }
    if (cache.length() > cache.committed()) {
      if (pick(3) == 0) {
        cache.rollback(range(cache.committed(), cache.length()));
        ++rolled_back_;
      } else {
        cache.commit(range(1, cache.length() - cache.committed()));
      }
    } else if (cache.length() == sequence.limit) {
      return false;
    } else {
      uint32_t rows = std::min(sequence.limit - cache.length(), range(1, pick(3) == 0 ? 70 : 6));
      rows = cache.slice(rows);
      if (rule().at_prompt_end && cache.length() < sequence.first_prompt) {
        rows = std::min(rows, sequence.first_prompt - cache.length());
      }
      const PoolFigures before = pool_->figures();
      const uint32_t length = cache.length();
      const auto appended = cache.append(rows);
      if (appended) {
        sequence.had_rows = true;
      } else {
        EXPECT_TRUE(sequence.quota.empty()) << appended.error().message;
        EXPECT_EQ(pool_->figures(), before) << "a failed append changed something";
        EXPECT_EQ(cache.length(), length);
        ++full_;
        return pick(4) != 0;
      }
    }
    const bool turn_ends = rule().at_prompt_end && cache.committed() > sequence.first_prompt &&
                           cache.committed() == cache.length() && pick(20) == 0;
    if (due(sequence) || turn_ends) settle_next_ = &sequence;
    return true;
  }

  Sequence open(bool reserved) {
    Sequence sequence;
    sequence.limit = range(1, 330);
    sequence.first_prompt = range(1, sequence.limit);
    ReservationId id = kUnreserved;
    if (reserved) {
      sequence.quota = layout_->worst_case(sequence.first_prompt, sequence.limit);
      id = pool_->reserve(sequence.quota);
    }
    if (id == kUnreserved) {  // promised nothing
      sequence.quota.clear();
      id = pool_->reserve({});
    }
    sequence.cache = std::make_unique<SequenceCache>(*layout_, *pool_, id);
    return sequence;
  }

  Case test_;
  std::mt19937 random_;
  CacheShape shape_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<CacheLayout> layout_;
  ThreadPool threads_{1};
  std::vector<Sequence> sequences_;
  Sequence* settle_next_ = nullptr;
  size_t full_ = 0;  // how often it came to what
  size_t settled_ = 0;
  size_t rolled_back_ = 0;
  size_t forked_ = 0;
};

TEST_P(Accounting, figures_equal_a_walk_over_all_tables_after_every_operation) {
  create(10);
  sequences_.reserve(8);
  for (int operation = 0; operation < 8000; ++operation) {
    if (settle_next_ == nullptr && sequences_.size() < 6 && (sequences_.empty() || pick(60) == 0)) {
      sequences_.push_back(open(pick(3) != 0));
    } else if (settle_next_ == nullptr && sequences_.size() < 6 && pick(80) == 0) {
      Sequence& from = sequences_[pick(sequences_.size())];
      if (from.cache->length() == from.cache->committed()) {
        Sequence copy;
        copy.limit = from.limit;
        copy.first_prompt = from.first_prompt;
        // Queries are observed anew unless the next settling asks for some of these.
        const uint32_t length = from.cache->length();
        copy.had_rows = from.had_rows && (rule().at_prompt_end ||
                                          length + layout_->observe() > rule().next_after(length));
        ReservationId id = pool_->reserve({});
        if (pick(3) != 0) {
          pool_->release(id);
          copy.quota = layout_->worst_case(copy.first_prompt, copy.limit);
          id = pool_->reserve(without(copy.quota, from.cache->lasting_pages()));
          if (id == kUnreserved) {
            copy.quota.clear();
            id = pool_->reserve({});
          }
        }
        const PoolFigures before = pool_->figures();
        auto forked = from.cache->fork(id);
        if (forked) {
          copy.given_up = lasting(*from.cache);
          from.given_up.insert(copy.given_up.begin(), copy.given_up.end());
          copy.cache = std::make_unique<SequenceCache>(std::move(forked).value());
          sequences_.push_back(std::move(copy));
          ++forked_;
        } else {
          ASSERT_TRUE(copy.quota.empty()) << forked.error().message;
          ASSERT_EQ(pool_->figures(), before);
          for (const PageId page : lasting(*from.cache)) {
            if (pool_->in_common(page)) from.given_up.insert(page);
          }
        }
      }
    } else {
      Sequence& sequence =
          settle_next_ != nullptr ? *settle_next_ : sequences_[pick(sequences_.size())];
      if (!act(sequence) || (settle_next_ == nullptr && pick(250) == 0)) {
        std::swap(sequence, sequences_.back());
        sequences_.pop_back();
      }
    }
    check();
    if (HasFailure()) FAIL() << "at operation " << operation;
  }
  EXPECT_GT(full_, 10u);
  EXPECT_GT(rolled_back_, 100u);
  EXPECT_GT(forked_, 5u);
  EXPECT_GE(settled_, rule().step < 256 ? 40u : 0u);
  sequences_.clear();
  EXPECT_EQ(pool_->figures(), (PoolFigures{.free = pool_->budget()}));
}

// In a pool that has just the slabs that the reservation needs, sequences reach their limit.
TEST_P(Accounting, a_reservation_suffices_for_slices_and_turns_of_any_size) {
  create(4000);
  const std::unique_ptr<Pool> large = std::move(pool_);
  const std::unique_ptr<CacheLayout> asked = std::move(layout_);
  double closest = 0;  // the most that a sequence held of what was reserved for it
  for (int round = 0; round < 60; ++round) {
    const uint32_t limit = range(1, 700);
    const uint32_t prompt = range(1, limit);
    const Quota quota = asked->worst_case(prompt, limit);
    size_t low = 1;
    for (size_t high = 4000; low < high;) {
      const size_t middle = (low + high) / 2;
      create(middle);
      (pool_->fits_empty(quota) ? high : low) = pool_->fits_empty(quota) ? middle : middle + 1;
    }
    create(low);
    const ReservationId id = pool_->reserve(quota);
    ASSERT_NE(id, kUnreserved);
    // Others take what was not promised to this sequence: the rest of its last slabs.
    std::vector<PageId> others;
    for (const auto& [page_class, pages] : quota) {
      for (PageId page; (page = pool_->allocate(page_class, kUnreserved)) != kNoPage;) {
        others.push_back(page);
      }
    }
    {
      SequenceCache cache(*layout_, *pool_, id);
      const uint32_t slices = range(1, 200);
      while (cache.length() < limit) {
        uint32_t rows = cache.slice(std::min(range(1, slices), limit - cache.length()));
        if (cache.length() < prompt) rows = std::min(rows, prompt - cache.length());
        const auto appended = cache.append(rows);
        ASSERT_TRUE(appended.ok()) << appended.error().message << " prompt " << prompt << " of "
                                   << limit << ", at " << cache.length();
        cache.commit(rows);
        closest =
            std::max(closest, static_cast<double>(cache.bytes().pages) /
                                  static_cast<double>(asked->worst_case_bytes(prompt, limit)));
        const uint32_t at = cache.committed();
        const bool turn = rule().at_prompt_end && at > prompt && pick(6) == 0;
        if (rule().is_grid_point(at) || (rule().at_prompt_end && at == prompt) || turn) {
          const auto passed = pass(cache, false);
          ASSERT_TRUE(passed.ok()) << passed.error().message;
          const auto settled =
              settle(cache, GivenStatistics(static_cast<uint64_t>(round)), threads_);
          ASSERT_TRUE(settled.ok())
              << settled.error().message << " prompt " << prompt << " of " << limit;
        }
      }
    }
    for (const PageId page : others) pool_->free(page, kUnreserved, 0);
    ASSERT_EQ(pool_->figures(), (PoolFigures{.free = pool_->budget()}));
  }
  RecordProperty("closest", fmt::format("{:.2f}", closest));
  EXPECT_GT(closest, 0.5) << "far more is reserved than is ever needed";
}

TEST_P(Accounting, the_parts_of_a_reservation_add_up_to_it) {
  create(64);
  for (int round = 0; round < 200; ++round) {
    const uint32_t limit = range(1, 2000);
    const uint32_t prompt = range(1, limit);
    const ReservationParts parts = layout_->worst_case_parts(prompt, limit);
    const size_t total = layout_->worst_case_bytes(prompt, limit);
    EXPECT_EQ(parts.total(), total);
    EXPECT_LT(parts.remainders, total);  // no difference below zero
    EXPECT_GT(parts.exact, 0u);
  }
}

TEST(Reservation, its_parts_are_those_of_a_hand_count) {
  auto pool = std::move(Pool::create(64 * kSlab, kSlab)).value();
  const Plan plan = make_plan(plan_text("f16", "f16", R"("settle": 64, "sinks": 4, "exact": 10)"),
                              make_shape(2, 2, 2, 32));
  const auto layout = CacheLayout::create(plan, pool);
  ASSERT_TRUE(layout.ok());
  const ReservationParts parts = layout->worst_case_parts(200, 300);
  constexpr size_t kRow = 2 * 32 * 2;  // key and value
  EXPECT_EQ(parts.settled, 4 * (200 - 4) * kRow);
  EXPECT_EQ(parts.answer, 4 * 100 * kRow);
  EXPECT_EQ(parts.settling, 2 * 64 * kRow);  // the last page of both heads of a layer
  EXPECT_EQ(parts.exact, 4 * (64 + 10) * kRow);
  EXPECT_EQ(parts.sinks, 4 * 4 * kRow);
  EXPECT_EQ(parts.side, 0u);
  // 296 rows in 5 pages of 64; 74 rows, of which the first may lie last in its page, in 4 of 32.
  EXPECT_EQ(parts.remainders, 4 * ((5 * 64 - 296) + (4 * 32 - 74)) * kRow);
}

INSTANTIATE_TEST_SUITE_P(Plans, Accounting, ::testing::Range<size_t>(0, cases().size()),
                         [](const auto& info) { return cases()[info.param].name; });

}  // namespace
}  // namespace skvis
