// SPDX-License-Identifier: Apache-2.0
#include "cache/pool.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/aligned.hpp"
#include "base/thread_pool.hpp"

namespace skvis {
namespace {

constexpr size_t kSlab = 64 << 10;

Pool make_pool(size_t slabs, size_t slab_bytes = kSlab) {
  return std::move(Pool::create(slabs * slab_bytes, slab_bytes)).value();
}

PageClass make_class(Pool& pool, size_t bytes, uint32_t slots) {
  return pool.page_class(bytes, slots).value();
}

size_t sum(const PoolFigures& figures) {
  return figures.used + figures.wasted + figures.reserved + figures.free;
}

void expect_balanced(const Pool& pool) {
  const PoolFigures figures = pool.figures();
  ASSERT_EQ(sum(figures), pool.budget());
  ASSERT_EQ(figures, pool.recount());
}

TEST(Pool, rounds_the_budget_down_to_slabs_and_refuses_less_than_one) {
  EXPECT_EQ(Pool::create(5 * kSlab + 17, kSlab)->budget(), 5 * kSlab);
  EXPECT_FALSE(Pool::create(kSlab - 1, kSlab).ok());
  EXPECT_FALSE(Pool::create(SIZE_MAX / 2, 4096).ok());
  Pool pool = make_pool(2);
  EXPECT_EQ(make_class(pool, 6400, 64), make_class(pool, 6400, 64));
  EXPECT_NE(make_class(pool, 6400, 64), make_class(pool, 6400, 32));
  EXPECT_FALSE(pool.page_class(kSlab + 64, 64).ok());
}

TEST(Pool, serves_zeroed_pages_aligned_to_cache_lines_until_it_is_full) {
  Pool pool = make_pool(3);
  const PageClass small = make_class(pool, 64 * 37, 64);
  const size_t stride = round_up(64 * 37, kCacheLine);
  std::vector<PageId> pages;
  for (;;) {
    const PageId page = pool.allocate(small, kUnreserved);
    if (page == kNoPage) break;
    const std::byte* data = pool.data(page);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % kCacheLine, 0u);
    EXPECT_TRUE(std::all_of(data, data + 64 * 37, [](std::byte b) { return b == std::byte{0}; }));
    std::fill_n(pool.data(page), 64 * 37, std::byte{0xff});
    pages.push_back(page);
    expect_balanced(pool);
  }
  EXPECT_EQ(pages.size(), 3 * (kSlab / stride));
  EXPECT_EQ(pool.figures().used, 0u);
  EXPECT_EQ(pool.figures().free, 0u);
  // Every byte is reusable at once, by pages of another class too.
  for (const PageId page : pages) pool.free(page, kUnreserved, 0);
  EXPECT_EQ(pool.figures(), (PoolFigures{.free = pool.budget()}));
  const PageClass large = make_class(pool, kSlab, 64);
  for (int i = 0; i < 3; ++i) {
    const PageId page = pool.allocate(large, kUnreserved);
    ASSERT_NE(page, kNoPage);
    EXPECT_EQ(pool.data(page)[kSlab - 1], std::byte{0});
  }
  EXPECT_EQ(pool.allocate(small, kUnreserved), kNoPage);
}

TEST(Pool, bytes_left_in_slabs_of_another_class_are_not_promised) {
  Pool pool = make_pool(2);
  const PageClass a = make_class(pool, kSlab / 2, 32);
  const PageClass b = make_class(pool, kSlab / 4, 32);
  ASSERT_NE(pool.allocate(a, kUnreserved), kNoPage);
  EXPECT_TRUE(pool.can_reserve({{b, 4}}));
  EXPECT_FALSE(pool.can_reserve({{b, 5}}));  // half a slab is free, but serves `a`
  EXPECT_FALSE(pool.can_reserve({{a, 1}, {b, 1}, {a, 1}, {b, 4}}));
  EXPECT_FALSE(pool.can_reserve({{b, SIZE_MAX / 2}}));
  EXPECT_EQ(pool.reserve({{b, 5}}), kUnreserved);
  const ReservationId reservation = pool.reserve({{a, 1}, {b, 4}});
  ASSERT_NE(reservation, kUnreserved);
  EXPECT_EQ(pool.allocate(b, kUnreserved), kNoPage);  // all of it is promised
  EXPECT_EQ(pool.allocate(a, kUnreserved), kNoPage);
  for (int i = 0; i < 4; ++i) EXPECT_NE(pool.allocate(b, reservation), kNoPage);
  EXPECT_NE(pool.allocate(a, reservation), kNoPage);
  EXPECT_EQ(pool.allocate(b, reservation), kNoPage);
  expect_balanced(pool);
}

TEST(Pool, a_reservation_becomes_larger_if_that_fits_and_smaller_always) {
  Pool pool = make_pool(1, 4096);
  const PageClass a = make_class(pool, 1024, 64);
  const ReservationId first = pool.reserve({{a, 1}});
  const ReservationId second = pool.reserve({{a, 2}});
  EXPECT_FALSE(pool.resize(first, {{a, 3}}));
  EXPECT_FALSE(pool.resize(first, {{a, SIZE_MAX / 2}}));
  EXPECT_EQ(pool.figures().reserved, 3 * 1024u);  // nothing has changed
  EXPECT_TRUE(pool.resize(first, {{a, 1}, {a, 1}}));
  EXPECT_EQ(pool.figures().reserved, 4 * 1024u);
  const PageId page = pool.allocate(a, second);
  EXPECT_TRUE(pool.resize(second, {}));  // keeps the page, and is promised no other
  EXPECT_EQ(pool.figures().reserved, 2 * 1024u);
  EXPECT_TRUE(pool.resize(first, {{a, 3}}));
  EXPECT_EQ(pool.allocate(a, second), kNoPage);
  EXPECT_FALSE(pool.resize(second, {{a, 2}}));
  expect_balanced(pool);
  pool.free(page, second, 0);
  EXPECT_TRUE(pool.resize(second, {{a, 1}}));
  EXPECT_NE(pool.allocate(a, second), kNoPage);
  expect_balanced(pool);
}

TEST(Pool, a_slot_is_live_while_any_holder_uses_it) {
  Pool pool = make_pool(2);
  const PageClass page_class = make_class(pool, 64 * 10, 64);
  const ReservationId first = pool.reserve({{page_class, 1}});
  const ReservationId second = pool.reserve({{page_class, 2}});
  const PageId page = pool.allocate(page_class, first);
  pool.add_live(page, 0xff);
  EXPECT_TRUE(pool.share(page, second, 0xf0));
  EXPECT_EQ(pool.figures().used, 80u);
  pool.drop_live(page, 0x3f);  // the first holder drops slots 0 to 5
  EXPECT_EQ(pool.live(page), 0xf0u);
  EXPECT_EQ(pool.figures().used, 40u);
  const size_t reserved = pool.figures().reserved;
  pool.free(page, first, 0xc0);  // the charge moves on, the promise returns
  EXPECT_EQ(pool.holders(page), 1u);
  EXPECT_EQ(pool.live(page), 0xf0u);
  EXPECT_EQ(pool.figures().reserved, reserved);
  pool.free(page, second, 0xf0);
  pool.release(first);
  pool.release(second);
  EXPECT_EQ(pool.figures(), (PoolFigures{.free = pool.budget()}));
}

TEST(Pool, a_holder_beyond_its_reservation_may_share_only_what_it_could_take_over) {
  Pool pool = make_pool(1, 4096);
  const PageClass page_class = make_class(pool, 2048, 64);
  const ReservationId first = pool.reserve({{page_class, 2}});
  const PageId page = pool.allocate(page_class, first);
  // The first holder may free this page and take two others; the pool has two.
  EXPECT_FALSE(pool.share(page, kUnreserved, 1));
  EXPECT_EQ(pool.holders(page), 1u);
  expect_balanced(pool);
  pool.free(page, first, 0);
  pool.release(first);
  const ReservationId small = pool.reserve({{page_class, 1}});
  const PageId shared = pool.allocate(page_class, small);
  EXPECT_TRUE(pool.share(shared, kUnreserved, 1));
  EXPECT_EQ(pool.allocate(page_class, kUnreserved), kNoPage);
  pool.free(shared, small, 0);
  EXPECT_NE(pool.allocate(page_class, small), kNoPage);  // its promise stands
  expect_balanced(pool);
}

TEST(Pool, a_page_in_common_counts_once_and_against_nobody) {
  Pool pool = make_pool(1, 4096);
  const PageClass page_class = make_class(pool, 1024, 64);
  const ReservationId first = pool.reserve({{page_class, 3}});
  const PageId page = pool.allocate(page_class, first);
  pool.add_live(page, 1);
  const PoolFigures before = pool.figures();
  EXPECT_EQ(before.free, 1024u);
  // The second one's two pages include this one, so that it needs room for one only.
  const ReservationId second = pool.reserve(without({{page_class, 2}}, {{page_class, 1}}));
  ASSERT_NE(second, kUnreserved);
  pool.hold_in_common(page, first, 1);
  EXPECT_EQ(pool.figures().free, 0u);
  EXPECT_EQ(pool.shared_bytes(), 1024u);
  EXPECT_NE(pool.allocate(page_class, second), kNoPage);
  EXPECT_EQ(pool.allocate(page_class, second), kNoPage);
  pool.free(page, first,
            1);  // stays with the second, and the first has two pages to take, not three
  EXPECT_EQ(pool.shared_bytes(), 0u);
  EXPECT_NE(pool.allocate(page_class, first), kNoPage);
  EXPECT_NE(pool.allocate(page_class, first), kNoPage);
  EXPECT_EQ(pool.allocate(page_class, first), kNoPage);
  expect_balanced(pool);
  EXPECT_TRUE(pool.take_back(page, second));  // counts as its own again
  expect_balanced(pool);
  pool.free(page, second, 1);
  EXPECT_EQ(pool.figures().free, 1024u);
  expect_balanced(pool);
}

// Holders, charges and masks as the test sees them, counted again after every operation.
class Shadow {
 public:
  Shadow(Pool& pool, std::vector<PageClass> classes, std::vector<uint32_t> slots)
      : pool_(pool), classes_(std::move(classes)), slots_(std::move(slots)) {}

  struct Holding {
    PageId page;
    size_t page_class;
    uint64_t live;
    bool claims = true;  // or gave up its claim
  };
  struct Holder {
    ReservationId id = kUnreserved;
    std::vector<size_t> quota;
    std::vector<Holding> pages;
  };
  std::vector<Holder> holders;

  // Pages of a holder that count against it.
  size_t counted(const Holder& holder, size_t i) const {
    return static_cast<size_t>(std::count_if(
        holder.pages.begin(), holder.pages.end(),
        [&](const Holding& holding) { return holding.page_class == i && holding.claims; }));
  }
  static Holding* find(Holder& holder, PageId page) {
    for (Holding& holding : holder.pages) {
      if (holding.page == page) return &holding;
    }
    return nullptr;
  }
  // Called before a holder makes a page common: where it counted on the page it needs one less.
  void give_up(Holder& holder, PageId page) {
    Holding& holding = *find(holder, page);
    if (!holding.claims) return;
    const size_t i = holding.page_class;
    if (holder.id != kUnreserved && holder.quota[i] >= counted(holder, i)) --holder.quota[i];
    holding.claims = false;
  }
  void check() const {
    std::map<PageId, std::pair<size_t, uint64_t>> pages;
    for (const Holder& holder : holders) {
      for (const Holding& holding : holder.pages) {
        pages[holding.page].first = holding.page_class;
        pages[holding.page].second |= holding.live;
      }
    }
    PoolFigures expected;
    std::map<uint32_t, size_t> slabs;
    std::vector<size_t> distinct(classes_.size());
    for (const auto& [page, state] : pages) {
      ASSERT_EQ(pool_.live(page), state.second);
      const size_t row = pool_.page_bytes(classes_[state.first]) / slots_[state.first];
      const size_t live = static_cast<size_t>(std::popcount(state.second)) * row;
      expected.used += live;
      expected.wasted += stride(state.first) - live;
      slabs[page >> 12] = state.first;
      if (!pool_.in_common(page)) ++distinct[state.first];
    }
    for (const auto& [slab, page_class] : slabs) expected.wasted += kSlab % stride(page_class);
    std::vector<size_t> unreserved(classes_.size());
    for (size_t i = 0; i < classes_.size(); ++i) {
      size_t claims = 0;
      for (const Holder& holder : holders) {
        const size_t held = counted(holder, i);
        if (holder.id == kUnreserved) {
          unreserved[i] += held;
        } else {
          claims += std::max(held, holder.quota[i]);
        }
      }
      expected.reserved += (claims + unreserved[i] - distinct[i]) * stride(i);
    }
    expected.free = pool_.budget() - expected.used - expected.wasted - expected.reserved;
    ASSERT_EQ(pool_.figures(), expected);
    ASSERT_EQ(pool_.recount(), expected);
    ASSERT_LE(expected.free, pool_.budget());
  }

 private:
  size_t stride(size_t i) const {
    return std::max<size_t>(256, round_up(pool_.page_bytes(classes_[i]), kCacheLine));
  }
  Pool& pool_;
  std::vector<PageClass> classes_;
  std::vector<uint32_t> slots_;
};

TEST(Pool, figures_match_an_independent_count_after_a_hundred_thousand_random_operations) {
  Pool pool = make_pool(24);
  const std::vector<uint32_t> slots = {64, 32, 4, 1};
  const std::vector<PageClass> classes = {make_class(pool, 64 * 72, 64),
                                          make_class(pool, 32 * 128, 32),
                                          make_class(pool, 4 * 20, 4), make_class(pool, 9000, 1)};
  Shadow shadow(pool, classes, slots);
  std::mt19937 random(7);
  const auto pick = [&](size_t count) { return random() % count; };
  const auto mask = [&](size_t i) {
    return (uint64_t{random()} << 32 | random()) & (~uint64_t{0} >> (64 - slots[i]));
  };
  size_t refused = 0;
  size_t in_common = 0;
  for (int operation = 0; operation < 100000; ++operation) {
    if (shadow.holders.empty() || (pick(40) == 0 && shadow.holders.size() < 8)) {
      Shadow::Holder holder;
      holder.quota.assign(classes.size(), 0);
      if (pick(4) != 0) {
        Quota quota;
        for (size_t i = 0; i < classes.size(); ++i) {
          holder.quota[i] = pick(60);
          quota.emplace_back(classes[i], holder.quota[i]);
        }
        const bool fits = pool.can_reserve(quota);
        holder.id = pool.reserve(quota);
        ASSERT_EQ(fits, holder.id != kUnreserved);
        if (!fits) holder.quota.assign(classes.size(), 0);
      }
      shadow.holders.push_back(std::move(holder));
    } else {
      Shadow::Holder& holder = shadow.holders[pick(shadow.holders.size())];
      const size_t kind = pick(100);
      if (kind < 45) {
        const size_t i = pick(classes.size());
        const size_t held = shadow.counted(holder, i);
        const PageId page = pool.allocate(classes[i], holder.id);
        if (page == kNoPage) {
          ASSERT_GE(held, holder.quota[i]) << "an allocation within a reservation failed";
          ++refused;
        } else {
          holder.pages.push_back({page, i, mask(i)});
          pool.add_live(page, holder.pages.back().live);
        }
      } else if (kind < 48 && holder.id != kUnreserved) {
        Quota quota;
        std::vector<size_t> pages;
        for (const PageClass page_class : classes) {
          pages.push_back(pick(60));
          quota.emplace_back(page_class, pages.back());
        }
        if (pool.resize(holder.id, quota)) holder.quota = pages;
      } else if (kind < 53 && shadow.holders.size() > 1) {
        const size_t other = pick(shadow.holders.size());
        if (&shadow.holders[other] != &holder && !holder.pages.empty()) {
          const Shadow::Holding shared = holder.pages[pick(holder.pages.size())];
          Shadow::Holder& to = shadow.holders[other];
          const bool held = std::any_of(to.pages.begin(), to.pages.end(), [&](const auto& holding) {
            return holding.page == shared.page;
          });
          if (held) continue;
          if (pick(3) != 0 && holder.id != kUnreserved && to.id != kUnreserved) {
            shadow.give_up(holder, shared.page);
            pool.hold_in_common(shared.page, holder.id, shared.live);
            to.pages.push_back(shared);
            to.pages.back().claims = false;
            ++in_common;
          } else if (pool.share(shared.page, to.id, shared.live)) {
            to.pages.push_back(shared);
            to.pages.back().claims = true;
          }
        }
      } else if (kind < 55 && !holder.pages.empty() && holder.id != kUnreserved) {
        Shadow::Holding& holding = holder.pages[pick(holder.pages.size())];
        if (pool.in_common(holding.page) && !holding.claims) {
          const bool alone = pool.holders(holding.page) == 1;
          EXPECT_EQ(pool.take_back(holding.page, holder.id), alone);
          holding.claims = alone;
        } else {
          shadow.give_up(holder, holding.page);
          pool.make_common(holding.page, holder.id);
        }
      } else if (kind < 70 && !holder.pages.empty()) {
        Shadow::Holding& holding = holder.pages[pick(holder.pages.size())];
        const uint64_t changed = mask(holding.page_class);
        pool.drop_live(holding.page, holding.live & changed);
        pool.add_live(holding.page, changed & ~holding.live);
        holding.live ^= changed;
      } else if (kind < 99 && !holder.pages.empty()) {
        const size_t i = pick(holder.pages.size());
        pool.free(holder.pages[i].page, holder.id, holder.pages[i].live);
        holder.pages.erase(holder.pages.begin() + static_cast<ptrdiff_t>(i));
      } else if (kind == 99) {
        for (const auto& holding : holder.pages) pool.free(holding.page, holder.id, holding.live);
        pool.release(holder.id);
        std::swap(holder, shadow.holders.back());
        shadow.holders.pop_back();
      }
    }
    shadow.check();
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(refused, 100u);  // the pool was full at times
  EXPECT_GT(in_common, 50u);
  for (Shadow::Holder& holder : shadow.holders) {
    for (const auto& holding : holder.pages) pool.free(holding.page, holder.id, holding.live);
    pool.release(holder.id);
  }
  EXPECT_EQ(pool.figures(), (PoolFigures{.free = pool.budget()}));
}

// Resident memory less what the process held before, against what the pool says it holds.
void expect_resident(const Pool& pool, size_t before) {
  const PoolFigures figures = pool.figures();
  const auto held = static_cast<double>(figures.used + figures.wasted);
  const auto resident = static_cast<double>(resident_memory()) - static_cast<double>(before);
  EXPECT_NEAR(resident, held, 0.05 * held + (16 << 20));
}

TEST(Pool, populated_memory_is_resident_and_counts_as_free) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep shadow memory of their own";
#endif
  if (available_memory() < size_t{200} << 20) GTEST_SKIP() << "not enough free memory";
  const size_t before = resident_memory();
  Pool pool = make_pool(100, Pool::kSlabBytes);
  if (!pool.populate()) GTEST_SKIP() << "this system populates no memory";
  EXPECT_GE(resident_memory() - before, pool.budget());
  EXPECT_EQ(pool.figures(), (PoolFigures{.free = pool.budget()}));
}

TEST(Pool, resident_memory_follows_the_figures_while_it_fills_and_empties) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep shadow memory of their own";
#endif
  if (available_memory() < size_t{700} << 20) GTEST_SKIP() << "not enough free memory";
  const size_t before = resident_memory();
  Pool pool = make_pool(400, Pool::kSlabBytes);
  const std::vector<PageClass> classes = {make_class(pool, 64 * 288, 64),
                                          make_class(pool, 32 * 512, 32)};
  // Two sequences take pages in turn, some at a time, as settling does.
  std::vector<std::vector<PageId>> sequences(2);
  size_t turn = 0;
  for (bool full = false; !full; ++turn) {
    for (int i = 0; i < 60 && !full; ++i) {
      const PageId page = pool.allocate(classes[turn / 8 % 2], kUnreserved);
      full = page == kNoPage;
      if (full) break;
      pool.add_live(page, ~uint32_t{0});
      sequences[turn % 2].push_back(page);
    }
    if (turn % 20 == 0) expect_resident(pool, before);
  }
  EXPECT_GT(pool.figures().used + pool.figures().wasted, size_t{390} << 20);
  expect_resident(pool, before);
  for (std::vector<PageId>& pages : sequences) {
    for (size_t i = 0; i < pages.size(); ++i) {
      pool.free(pages[i], kUnreserved, ~uint32_t{0});
      if (i % 500 == 0) expect_resident(pool, before);
    }
    expect_resident(pool, before);
  }
  EXPECT_EQ(pool.figures(), (PoolFigures{.free = pool.budget()}));
}

}  // namespace
}  // namespace skvis
