// SPDX-License-Identifier: Apache-2.0
// What settling keeps, drops, encodes and leaves alone.
#include <gtest/gtest.h>

#include <limits>

#include "cache_testing.hpp"

namespace skvis {
namespace {

constexpr uint32_t kDim = 32;

class Settling : public ::testing::Test {
 protected:
  void create(const std::string& plan, const CacheShape& shape = make_shape(2, 2, 2, kDim)) {
    sequence_.reset();
    pool_ = std::make_unique<Pool>(std::move(Pool::create(16 << 20, 64 << 10)).value());
    auto layout = CacheLayout::create(make_plan(plan, shape), *pool_);
    ASSERT_TRUE(layout.ok()) << layout.error().message;
    layout_ = std::make_unique<CacheLayout>(std::move(layout).value());
    sequence_ = std::make_unique<SequenceCache>(*layout_, *pool_, kUnreserved);
  }

  // Rows that tell their head, role and position.
  static void fill(uint32_t head, Role role, uint32_t position, float* row) {
    for (uint32_t c = 0; c < kDim; ++c) {
      const auto value =
          static_cast<float>(mix(head * 2 + (role == Role::key), position, c) % 2001);
      row[c] = value / 1000.0f - 1.0f;
    }
  }

  // Appends up to `tokens` and settles wherever the plan does.
  void grow(uint32_t tokens, bool prompt_ends = false) {
    while (sequence_->length() < tokens) {
      const uint32_t begin = sequence_->length();
      const uint32_t rows = sequence_->slice(std::min(tokens - begin, 50u));
      ASSERT_TRUE(sequence_->append(rows).ok());
      write_rows(*sequence_, begin, begin + rows, fill);
      sequence_->commit(rows);
      const SettleRule& rule = layout_->plan().settle;
      if (!rule.is_grid_point(sequence_->length()) &&
          !(prompt_ends && sequence_->length() == tokens)) {
        continue;
      }
      before_ = positions();
      const auto settled = settle(*sequence_, statistics_, threads_);
      ASSERT_TRUE(settled.ok()) << settled.error().message;
      after_settle();
    }
  }
  virtual void after_settle() {
    const PoolFigures figures = pool_->figures();
    ASSERT_EQ(figures, pool_->recount());
    expect_rows_decode();
  }

  std::vector<uint32_t> positions(uint32_t head) const {
    std::vector<uint32_t> positions;
    for (const LiveRow& row : live_rows(*sequence_, head, sequence_->length())) {
      positions.push_back(row.position);
    }
    EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
    return positions;
  }
  std::vector<std::vector<uint32_t>> positions() const {
    std::vector<std::vector<uint32_t>> all;
    for (uint32_t head = 0; head < layout_->heads(); ++head) all.push_back(positions(head));
    return all;
  }

  // Every live row decodes to what was written at its position, as well as its code can.
  void expect_rows_decode() const {
    std::vector<float> expected(kDim);
    for (uint32_t head = 0; head < layout_->heads(); ++head) {
      const auto rows = live_rows(*sequence_, head, sequence_->length());
      std::vector<float> decoded(rows.size() * kDim);
      for (const Role role : {Role::key, Role::value}) {
        decode_rows(*sequence_, head, role, rows, decoded.data());
        for (size_t i = 0; i < rows.size(); ++i) {
          fill(head, role, rows[i].position, expected.data());
          for (uint32_t c = 0; c < kDim; ++c) {
            ASSERT_NEAR(decoded[i * kDim + c], expected[c], 0.3)
                << "head " << head << " position " << rows[i].position;
          }
        }
      }
    }
  }

  // The rows that stay of those before: protected ones, then the best `count` in all.
  std::vector<uint32_t> best(uint32_t head, size_t count, uint32_t judged_from) const {
    const Plan& plan = layout_->plan();
    const uint32_t at = sequence_->length();
    const uint32_t tail = at - std::min(at, plan.protected_tail());
    std::vector<uint32_t> kept;
    std::vector<uint32_t> candidates;
    for (const uint32_t position : before_[head]) {
      const bool fixed = position < plan.sinks || position >= tail || position < judged_from;
      (fixed ? kept : candidates).push_back(position);
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](uint32_t a, uint32_t b) { return score(head, a) > score(head, b); });
    const size_t room = count > kept.size() ? count - kept.size() : 0;
    candidates.resize(std::min(candidates.size(), room));
    kept.insert(kept.end(), candidates.begin(), candidates.end());
    std::sort(kept.begin(), kept.end());
    return kept;
  }
  // `streaming` keeps the newest rows.
  static float score(uint32_t, uint32_t position) { return static_cast<float>(position); }

  std::unique_ptr<Pool> pool_;
  std::unique_ptr<CacheLayout> layout_;
  std::unique_ptr<SequenceCache> sequence_;
  GivenStatistics statistics_;
  ThreadPool threads_{2};
  std::vector<std::vector<uint32_t>> before_;
};

TEST_F(Settling, without_a_selector_every_row_is_kept_and_old_ones_are_sealed) {
  create(plan_text("int8", "int4 hadamard", R"("settle": 64, "sinks": 4, "exact": 10)"));
  grow(700);
  for (uint32_t head = 0; head < layout_->heads(); ++head) {
    EXPECT_EQ(positions(head).size(), 700u);
    EXPECT_EQ(sequence_->head(head).sealed.rows(), 640u - 10 - 4);
    EXPECT_EQ(sequence_->head(head).sealed.pages.size(), (640u - 14 + 63) / 64);
  }
  EXPECT_EQ(sequence_->open_begin(), 630u);
}

TEST_F(Settling, full_pages_stay_where_they_are) {
  create(plan_text("int8", "int8", R"("settle": 100)"));
  grow(100);
  std::vector<PageId> pages;
  for (uint32_t tokens = 100; tokens <= 900; tokens += 100) {
    grow(tokens);
    const auto& table = sequence_->head(3).sealed.pages;
    for (size_t i = 0; i < pages.size(); ++i) EXPECT_EQ(table[i].page, pages[i]);
    pages.clear();
    for (const PageEntry& entry : table) {
      if (entry.filled == kPageSlots) pages.push_back(entry.page);
    }
    EXPECT_EQ(pages.size(), tokens / kPageSlots);
  }
}

// Under a ratio, attention need not look at rows that were judged before.
TEST_F(Settling, column_sums_of_rows_judged_for_good_change_nothing) {
  for (const std::string keep :
       {R"("selector": "snapkv", "observe": 8, "kernel": 9)",
        R"("selector": "snapkv", "observe": 8, "kernel": 5, "pool": "max", "budget": "ada")",
        R"("selector": "chunk", "observe": 8, "chunk": 7)", R"("selector": "tova")"}) {
    const std::string plan = plan_text("int8", "int8", R"("settle": 100, "sinks": 4, "exact": 8,
        "keep": {"ratio": 0.4, )" + keep + "}");
    statistics_ = GivenStatistics();
    create(plan);
    grow(530);
    const auto whole = positions();
    EXPECT_LT(whole[0].size(), 300u);
    statistics_.leave_out();
    create(plan);
    grow(530);
    EXPECT_EQ(positions(), whole) << keep;
  }
}

class RatioSettling : public Settling {
 protected:
  void after_settle() override {
    Settling::after_settle();
    const uint32_t at = sequence_->length();
    const std::vector<double> ratios = {0.25, 0.5, 0.75, 1.0};
    for (uint32_t head = 0; head < 4; ++head) {
      const auto count = static_cast<size_t>(ratios[head] * at);
      EXPECT_EQ(positions(head), best(head, count, judged_)) << "head " << head << " at " << at;
      const size_t least = std::min(at, 4 + 30u);
      EXPECT_EQ(positions(head).size(), std::max(count, least)) << "head " << head << " at " << at;
    }
    judged_ = at - std::min(at, 30u);
    EXPECT_EQ(sequence_->judged_end(), std::max(judged_, 4u));
  }
  uint32_t judged_ = 0;
};

TEST_F(RatioSettling, heads_keep_their_share_of_all_tokens_at_every_grid_point) {
  create(plan_text("int8", "int8", R"("settle": 48, "sinks": 4, "exact": 12, "recent": 30, "keep":
    {"selector": "streaming", "table": [[0.25, 0.5], [0.75, 1.0]]})"));
  grow(1500);
}

class TokenSettling : public Settling {
 protected:
  void after_settle() override {
    Settling::after_settle();
    const uint32_t at = sequence_->length();
    for (uint32_t head = 0; head < 4; ++head) {
      const size_t count = std::min(at, head == 0 ? 40u : 100u);
      EXPECT_EQ(positions(head).size(), count);
      EXPECT_EQ(positions(head), best(head, count, 0));
    }
  }
};

TEST_F(TokenSettling, token_budgets_choose_among_all_rows_each_time) {
  create(plan_text("int8", "int8", R"("settle": 48, "sinks": 4, "exact": 8, "recent": 20, "keep":
    {"selector": "streaming", "tokens": 100,
     "table": [{"layers": "0", "heads": "0", "tokens": 40}]})"));
  grow(1000);
  const auto rows = positions(0);
  EXPECT_EQ(rows[3], 3u);  // sinks stay; the others move on with the sequence
  EXPECT_GE(rows[4], 960u - 40);
}

TEST_F(Settling, a_table_over_a_ratio_may_mix_both_units) {
  create(plan_text("int8", "int8", R"("settle": 64, "sinks": 2, "recent": 8, "keep":
    {"selector": "snapkv", "observe": 4, "ratio": 0.5,
     "table": [{"layers": "1", "tokens": 50}]})"));
  grow(640);
  EXPECT_EQ(positions(0).size(), 320u);
  EXPECT_EQ(positions(2).size(), 50u);
  EXPECT_GT(positions(2)[30], 128u);  // 50 of all rows, not the first 50
}

TEST_F(Settling, a_byte_budget_is_never_exceeded_by_settled_rows) {
  create(plan_text("int8", "int4", R"("settle": 64, "sinks": 4, "exact": 16, "recent": 16, "keep":
    {"selector": "streaming", "bytes": 40000})"));
  for (uint32_t at = 64; at <= 1280; at += 64) {
    grow(at);
    size_t bytes = 0;
    for (uint32_t head = 0; head < 4; ++head) {
      const size_t sealed = sequence_->head(head).sealed.rows();
      bytes += sealed * layout_->plan().row_bytes[head] +
               (positions(head).size() - sealed) * layout_->plan().exact_row_bytes();
    }
    EXPECT_LE(bytes, 40000u);
    EXPECT_TRUE(at <= 512 || bytes > 40000u - 4 * 128) << bytes;
  }
}

TEST_F(Settling, a_sliding_layer_keeps_its_window_and_frees_whole_pages) {
  create(plan_text("int8", "int8", R"("settle": 32, "sinks": 4)"),
         make_shape(2, 1, 2, kDim, {0, 100}));
  for (uint32_t at = 32; at <= 960; at += 32) {
    grow(at);
    EXPECT_EQ(positions(0).size(), at);
    const auto rows = positions(1);
    const uint32_t begin = window_begin(100, at);
    for (uint32_t position = begin; position < at; ++position) {
      ASSERT_TRUE(std::binary_search(rows.begin(), rows.end(), position));
    }
    EXPECT_LE(rows.size(), 99u + 63);
    EXPECT_LE(sequence_->head(1).sealed.pages.size(), 3u);
  }
  EXPECT_EQ(sequence_->head(1).sinks.page, kNoPage);
  EXPECT_NE(sequence_->head(0).sinks.page, kNoPage);
}

TEST_F(Settling, a_long_prompt_of_a_sliding_layer_seals_no_more_than_its_window) {
  create(plan_text("int8", "int8", R"("settle": "prompt")"), make_shape(1, 2, 1, kDim, {40}));
  grow(1000, true);
  EXPECT_EQ(positions(0).front(), 961u);
  EXPECT_EQ(positions(1).size(), 39u);
}

TEST_F(Settling, turns_settle_at_every_prompts_end) {
  create(plan_text("int8", "int8", R"("settle": "prompt", "sinks": 4, "recent": 8, "keep":
    {"selector": "streaming", "ratio": 0.5})"));
  grow(200, true);
  EXPECT_EQ(positions(0).size(), 100u);
  grow(300);
  EXPECT_EQ(positions(0).size(), 200u);
  grow(400, true);
  EXPECT_EQ(positions(0).size(), 200u);
  EXPECT_EQ(sequence_->open_begin(), 400u);
}

TEST_F(Settling, rows_that_are_not_finite_are_refused_and_the_sequence_can_be_closed) {
  // More layers than settle together: those before the last ones have their new pages already.
  constexpr uint32_t kLayers = 40;
  for (const uint32_t bad_layer : {0u, kLayers - 1}) {
    create(plan_text("int8", "int4", R"("settle": 64, "sinks": 4)"),
           make_shape(kLayers, 2, 2, kDim));
    grow(128);
    ASSERT_TRUE(sequence_->append(64).ok());
    write_rows(*sequence_, 128, 192, [&](uint32_t head, Role role, uint32_t position, float* row) {
      fill(head, role, position, row);
      if (head / 2 == bad_layer && position == 150) {
        row[7] = std::numeric_limits<float>::quiet_NaN();
      }
    });
    sequence_->commit(64);
    const auto settled = settle(*sequence_, statistics_, threads_);
    ASSERT_FALSE(settled.ok());
    EXPECT_NE(settled.error().message.find(fmt::format("layer {}", bad_layer)), std::string::npos);
    EXPECT_NE(settled.error().message.find("not finite"), std::string::npos);
    EXPECT_EQ(sequence_->broken(), bad_layer > 0);
    EXPECT_EQ(pool_->figures(), pool_->recount());
    sequence_.reset();
    EXPECT_EQ(pool_->figures(), (PoolFigures{.free = pool_->budget()}));
  }
}

TEST_F(Settling, layers_that_read_others_rows_hold_none) {
  CacheShape shape = make_shape(3, 2, 2, kDim);
  shape.owner = {0, 0, 2};
  create(plan_text("int8", "int8", R"("settle": 64, "sinks": 4, "keep":
    {"selector": "snapkv", "observe": 8, "ratio": 0.5})"),
         shape);
  ASSERT_TRUE(sequence_->append(64).ok());
  for (const uint32_t head : {2u, 3u}) {
    EXPECT_EQ(sequence_->head(head).sinks.page, kNoPage);
    EXPECT_TRUE(sequence_->head(head).open.empty());
  }
  sequence_->rollback(30);
  sequence_->commit(30);
  ASSERT_TRUE(sequence_->append(34).ok());
  sequence_->commit(34);
  ASSERT_TRUE(settle(*sequence_, statistics_, threads_).ok());
  EXPECT_TRUE(sequence_->head(2).sealed.pages.empty());
  EXPECT_EQ(positions(2).size(), 0u);
  EXPECT_EQ(positions(0).size(), 32u);
  auto fork = sequence_->fork(kUnreserved);
  EXPECT_TRUE(fork.ok());
  // At a grid point the observed queries have had their use.
  const size_t queries = pool_->page_bytes(sequence_->layout().queries_class());
  EXPECT_EQ(fork->bytes().pages + 2 * queries, sequence_->bytes().pages);
}

TEST_F(Settling, more_sinks_than_a_page_has_slots_are_refused) {
  Pool pool = std::move(Pool::create(1 << 20)).value();
  Plan plan = make_plan(plan_text("int8", "int8", ""), make_shape(1, 1, 1, kDim));
  plan.sinks = kPageSlots + 1;  // what no plan that was read can say
  const auto layout = CacheLayout::create(plan, pool);
  ASSERT_FALSE(layout.ok());
  EXPECT_NE(layout.error().message.find("65 sinks"), std::string::npos);
}

}  // namespace
}  // namespace skvis
