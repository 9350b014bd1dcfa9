// SPDX-License-Identifier: Apache-2.0
// One memory budget in bytes for all pages. The budget is cut into slabs; a slab serves pages of
// one class at a time and goes back when its last page does. Bytes are counted here, where they are
// allocated, and nowhere else.
//
// A page may be held by several sequences. Each holder says which slots it still uses; a slot is
// live while any holder uses it. A reservation is a promise of pages by class, taken at admission,
// so that an admitted request never fails: allocations within it cannot fail. A shared page counts
// against one of its holders; the others keep room for it in their promises, since it will count
// against them when that one leaves. A page that is held in common counts against nobody: holders
// who keep it until they close need no room for another in its place.
//
// Memory of free slabs and free pages goes back to the system as soon as it adds up to more than
// kIdleBytes and a few per cent of what is held; until then it is taken again without a page fault.
//
// Not thread-safe: the engine's thread owns the pool. Workers only touch the bytes of pages.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "kv/shape.hpp"

namespace skvis {

using PageId = uint32_t;
using PageClass = uint32_t;
using ReservationId = uint32_t;
inline constexpr PageId kNoPage = UINT32_MAX;
// Takes from what nobody was promised. All that hold pages so are one holder, who shares with
// others but has none of its own to give up; reserve({}) promises nothing, and is somebody.
inline constexpr ReservationId kUnreserved = 0;

// Bytes by state. They add up to the budget after every operation.
struct PoolFigures {
  size_t used = 0;      // live rows and side data
  size_t wasted = 0;    // empty and dead slots of pages, remainders of slabs
  size_t reserved = 0;  // promised, not yet taken
  size_t free = 0;
  bool operator==(const PoolFigures&) const = default;
};

// Pages of each class that a sequence holds at its worst moment.
using Quota = std::vector<std::pair<PageClass, size_t>>;
// A quota less pages that count against nobody.
Quota without(Quota quota, const Quota& common);

class Pool {
 public:
  static constexpr size_t kSlabBytes = size_t{1} << 20;
  // Large pools have slabs of one huge page each: attention jumps from page to page, and with small
  // system pages every jump misses the TLB. A slab comes and goes as a whole, so that what is
  // resident still follows what is held.
  static constexpr size_t kHugeSlabBytes = size_t{1} << 21;
  static constexpr size_t kHugeFrom = size_t{256} << 20;

  // The budget is rounded down to whole slabs; address space is taken now, memory when touched.
  // slab_bytes 0: kSlabBytes, or kHugeSlabBytes where the budget is kHugeFrom or more.
  static Result<Pool> create(size_t budget, size_t slab_bytes = 0);
  Pool(Pool&& other) noexcept;
  Pool& operator=(Pool&&) = delete;
  ~Pool();

  // Has the system hand out all memory now instead of page by page when it is touched, which on
  // virtual machines may take many times as long as using it. False: the system cannot.
  bool populate();

  size_t budget() const { return slabs_.size() * slab_bytes_; }
  PoolFigures figures() const;

  // The class of pages with these bytes and slots; the same answer for the same question. A page's
  // bytes are slots * bytes of a row. Side data is a page of one slot. Refused above a slab.
  Result<PageClass> page_class(size_t page_bytes, uint32_t slots);
  size_t page_bytes(PageClass page_class) const { return classes_[page_class].bytes; }
  // What a page takes: its bytes, rounded up.
  size_t stride(PageClass page_class) const { return classes_[page_class].stride; }

  bool can_reserve(const Quota& quota) const;
  // Could it be reserved if nothing else were held?
  bool fits_empty(const Quota& quota) const;
  // kUnreserved when it does not fit now.
  ReservationId reserve(const Quota& quota);
  // The reservation becomes one of this quota. Pages beyond a smaller one stay with their holder,
  // who may take no more. False, changing nothing: what is more does not fit now.
  bool resize(ReservationId reservation, const Quota& quota);
  // The holder has freed its pages. Promises that were not taken return.
  void release(ReservationId reservation);

  // A zeroed page without live slots, or kNoPage: only beyond the reservation, when no memory is
  // left that was not promised to others.
  PageId allocate(PageClass page_class, ReservationId reservation);
  // The same with bytes of any value, for a worker to zero: that is most of what a page costs.
  PageId claim(PageClass page_class, ReservationId reservation);
  // One more holder, who uses the slots of `live`. False, changing nothing: beyond the holder's
  // reservation, and no memory is left that was not promised to others.
  bool share(PageId page, ReservationId holder, uint64_t live);
  // This holder will not let the page go and take another in its place: it gives up its claim, a
  // quota that counted on the page shrinks by it, and the page counts against nobody. Holders who
  // said nothing keep room for a page of their own.
  void make_common(PageId page, ReservationId holder);
  // One more holder, who claims nothing, of a page that `from` makes common.
  void hold_in_common(PageId page, ReservationId from, uint64_t live);
  // The only holder of a common page counts it as its own again. False: there are others.
  bool take_back(PageId page, ReservationId holder);
  // The holder goes, and with it its use of the slots of `live`. The last one frees the page.
  void free(PageId page, ReservationId holder, uint64_t live);
  void add_live(PageId page, uint64_t slots);
  void drop_live(PageId page, uint64_t slots);

  std::byte* data(PageId page) { return memory_ + offset(page); }
  const std::byte* data(PageId page) const { return memory_ + offset(page); }
  uint32_t holders(PageId page) const { return info(page).holders; }
  uint64_t live(PageId page) const { return info(page).live; }
  bool in_common(PageId page) const { return info(page).common; }
  // Bytes that holders of shared pages would take beyond what is there, had each a page of its own.
  size_t shared_bytes() const;
  PageClass class_of(PageId page) const { return slabs_[page >> kIndexBits].page_class; }

  // Counts every figure again from the slabs and pages; for tests and for `--log-level debug`.
  PoolFigures recount() const;

 private:
  // A page number is a slab's number and an index within it.
  static constexpr uint32_t kIndexBits = 12;
  static constexpr size_t kMinPageStride = 256;
  static constexpr PageClass kNoClass = UINT32_MAX;
  // Free pages whose memory is still there may add up to so many bytes before they are returned.
  static constexpr size_t kIdleBytes = size_t{8} << 20;

  struct ClassInfo {
    size_t bytes = 0;
    size_t stride = 0;  // bytes rounded up to a cache line: what a page takes
    uint32_t slots = 0;
    size_t row_bytes = 0;
    uint32_t per_slab = 0;
    size_t pages = 0;            // allocated
    size_t capacity = 0;         // pages of the slabs that serve this class
    size_t promised = 0;         // reserved and not yet taken
    std::set<uint32_t> partial;  // slabs of this class with a free page
  };
  struct PageInfo {
    uint32_t holders = 0;
    ReservationId charged = kUnreserved;  // whose quota the page counts against
    uint64_t live = 0;                    // slots that any holder uses
    bool resident = false;                // its memory was touched and not returned
    bool common = false;                  // counts against nobody
  };
  // Of a page with several holders.
  struct Sharing {
    std::vector<ReservationId> others;        // holders with a claim, beside the one charged
    std::array<uint32_t, kPageSlots> uses{};  // holders that use each slot
  };
  struct Slab {
    PageClass page_class = kNoClass;
    std::vector<PageInfo> pages = {};
    std::vector<uint32_t> free_pages = {};
    bool resident = false;  // of a free slab: its memory is still there
  };
  struct Promise {
    size_t quota = 0;
    size_t held = 0;    // pages charged to the holder
    size_t shared = 0;  // pages it holds that are charged to others
    size_t claims() const { return held + shared; }
    size_t outstanding() const { return std::max(quota, claims()) - held; }
  };

  Pool() = default;
  size_t offset(PageId page) const {
    const Slab& slab = slabs_[page >> kIndexBits];
    return (page >> kIndexBits) * slab_bytes_ +
           (page & ((1u << kIndexBits) - 1)) * classes_[slab.page_class].stride;
  }
  PageInfo& info(PageId page) {
    return slabs_[page >> kIndexBits].pages[page & ((1u << kIndexBits) - 1)];
  }
  const PageInfo& info(PageId page) const { return const_cast<Pool*>(this)->info(page); }
  size_t slabs_missing(const ClassInfo& info, size_t extra) const;
  bool fits(std::span<const std::pair<PageClass, size_t>> extra) const;
  Promise& promise(ReservationId reservation, PageClass page_class);
  // May the holder take one more page of the class, within its promise or from what is free?
  bool may_claim(ReservationId reservation, PageClass page_class);
  void charge(ReservationId reservation, PageClass page_class, int held, int shared);
  void add_holder(PageId page, uint64_t live);
  uint32_t slab_with_room(PageClass page_class);
  void give_back(PageId page);
  void free_slab(uint32_t index);
  void return_idle_memory();

  std::byte* memory_ = nullptr;
  size_t slab_bytes_ = 0;
  std::vector<Slab> slabs_;
  std::vector<uint32_t> free_slabs_;
  std::vector<ClassInfo> classes_;
  std::vector<std::vector<Promise>> reservations_;  // [reservation][class]; empty: not in use
  std::vector<ReservationId> free_reservations_;
  std::unordered_map<PageId, Sharing> sharing_;
  size_t used_ = 0;
  size_t wasted_ = 0;
  size_t idle_ = 0;  // bytes of free slabs, and free pages of others, whose memory is still there
};

}  // namespace skvis
