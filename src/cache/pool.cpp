// SPDX-License-Identifier: Apache-2.0
#include "cache/pool.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "base/aligned.hpp"

namespace skvis {

namespace {

// Address space that begins at a multiple of `alignment`; null when there is none.
std::byte* map_aligned(size_t bytes, size_t alignment) {
  void* memory = ::mmap(nullptr, bytes + alignment, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const size_t before = round_up(address, alignment) - address;
  if (before > 0) ::munmap(memory, before);
  std::byte* aligned = static_cast<std::byte*>(memory) + before;
  ::munmap(aligned + bytes, alignment - before);
  return aligned;
}

}  // namespace

Quota without(Quota quota, const Quota& common) {
  for (const auto& [common_class, count] : common) {
    size_t left = count;
    for (auto& [page_class, pages] : quota) {
      if (page_class != common_class) continue;
      const size_t less = std::min(left, pages);
      pages -= less;
      left -= less;
    }
  }
  return quota;
}

Result<Pool> Pool::create(size_t budget, size_t slab_bytes) {
  if (slab_bytes == 0) slab_bytes = budget >= kHugeFrom ? kHugeSlabBytes : kSlabBytes;
  const size_t slabs = budget / slab_bytes;
  if (slabs == 0) {
    return fail("KV memory of {} bytes is less than one slab of {} bytes", budget, slab_bytes);
  }
  constexpr size_t kMostSlabs = (size_t{1} << (32 - kIndexBits)) - 1;  // kNoPage is in none
  if (slabs > kMostSlabs) {
    return fail("KV memory of {} bytes is more than {} slabs of {} bytes", budget, kMostSlabs,
                slab_bytes);
  }
  std::byte* memory = map_aligned(slabs * slab_bytes, kHugeSlabBytes);
  if (memory == nullptr) {
    return fail("no address space for {} bytes of KV memory: {}", budget, std::strerror(errno));
  }
  // Without huge pages the pool works as well, only slower.
  if (slab_bytes == kHugeSlabBytes) ::madvise(memory, slabs * slab_bytes, MADV_HUGEPAGE);
  Pool pool;
  pool.memory_ = memory;
  pool.slab_bytes_ = slab_bytes;
  pool.slabs_.resize(slabs);
  for (size_t i = slabs; i > 0; --i) pool.free_slabs_.push_back(static_cast<uint32_t>(i - 1));
  pool.reservations_.resize(1);  // kUnreserved
  return pool;
}

Pool::Pool(Pool&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      slab_bytes_(other.slab_bytes_),
      slabs_(std::move(other.slabs_)),
      free_slabs_(std::move(other.free_slabs_)),
      classes_(std::move(other.classes_)),
      reservations_(std::move(other.reservations_)),
      free_reservations_(std::move(other.free_reservations_)),
      sharing_(std::move(other.sharing_)),
      used_(other.used_),
      wasted_(other.wasted_),
      idle_(other.idle_) {}

Pool::~Pool() {
  if (memory_ != nullptr) ::munmap(memory_, budget());
}

bool Pool::populate() {
#ifdef MADV_POPULATE_WRITE
  return ::madvise(memory_, budget(), MADV_POPULATE_WRITE) == 0;
#else
  return false;
#endif
}

PoolFigures Pool::figures() const {
  PoolFigures figures{.used = used_, .wasted = wasted_};
  for (const ClassInfo& info : classes_) figures.reserved += info.promised * info.stride;
  figures.free = budget() - figures.used - figures.wasted - figures.reserved;
  return figures;
}

PoolFigures Pool::recount() const {
  PoolFigures figures;
  size_t free = free_slabs_.size() * slab_bytes_;
  for (const Slab& slab : slabs_) {
    if (slab.page_class == kNoClass) continue;
    const ClassInfo& info = classes_[slab.page_class];
    figures.wasted += slab_bytes_ - info.per_slab * info.stride;
    for (const PageInfo& page : slab.pages) {
      if (page.holders == 0) {
        free += info.stride;
        continue;
      }
      const auto live = static_cast<size_t>(std::popcount(page.live));
      figures.used += live * info.row_bytes;
      figures.wasted += info.stride - live * info.row_bytes;
    }
  }
  for (const auto& promises : reservations_) {
    for (size_t i = 0; i < promises.size(); ++i) {
      figures.reserved += promises[i].outstanding() * classes_[i].stride;
    }
  }
  figures.free = free - figures.reserved;
  return figures;
}

Result<PageClass> Pool::page_class(size_t page_bytes, uint32_t slots) {
  assert(slots >= 1 && slots <= kPageSlots && page_bytes % slots == 0);
  for (size_t i = 0; i < classes_.size(); ++i) {
    if (classes_[i].bytes == page_bytes && classes_[i].slots == slots) {
      return static_cast<PageClass>(i);
    }
  }
  const size_t stride = std::max(kMinPageStride, round_up(page_bytes, kCacheLine));
  if (stride > slab_bytes_) {
    return fail("a page of {} bytes does not fit a slab of {} bytes", page_bytes, slab_bytes_);
  }
  ClassInfo& info = classes_.emplace_back();
  info.bytes = page_bytes;
  info.stride = stride;
  info.slots = slots;
  info.row_bytes = page_bytes / slots;
  info.per_slab = static_cast<uint32_t>(std::min(slab_bytes_ / stride, size_t{1} << kIndexBits));
  return static_cast<PageClass>(classes_.size() - 1);
}

// Slabs that must still be taken before the class can serve its promises and `extra` pages.
size_t Pool::slabs_missing(const ClassInfo& info, size_t extra) const {
  const size_t wanted = info.pages + info.promised + extra;
  return wanted <= info.capacity ? 0 : (wanted - info.capacity + info.per_slab - 1) / info.per_slab;
}

bool Pool::fits(std::span<const std::pair<PageClass, size_t>> extra) const {
  size_t missing = 0;
  for (size_t i = 0; i < classes_.size(); ++i) {
    size_t more = 0;
    for (const auto& [page_class, pages] : extra) {
      if (page_class == i) more += pages;
    }
    if (more > budget() / classes_[i].stride) return false;
    missing += slabs_missing(classes_[i], more);
  }
  return missing <= free_slabs_.size();
}

bool Pool::can_reserve(const Quota& quota) const {
  return fits(quota);
}

bool Pool::fits_empty(const Quota& quota) const {
  std::vector<size_t> pages(classes_.size(), 0);
  for (const auto& [page_class, count] : quota) pages[page_class] += count;
  size_t slabs = 0;
  for (size_t i = 0; i < pages.size(); ++i) {
    slabs += (pages[i] + classes_[i].per_slab - 1) / classes_[i].per_slab;
  }
  return slabs <= slabs_.size();
}

ReservationId Pool::reserve(const Quota& quota) {
  if (!fits(quota)) return kUnreserved;
  ReservationId id = static_cast<ReservationId>(reservations_.size());
  if (!free_reservations_.empty()) {
    id = free_reservations_.back();
    free_reservations_.pop_back();
  } else {
    reservations_.emplace_back();
  }
  reservations_[id].assign(classes_.size(), {});
  for (const auto& [page_class, pages] : quota) {
    reservations_[id][page_class].quota += pages;
    classes_[page_class].promised += pages;
  }
  return id;
}

bool Pool::resize(ReservationId reservation, const Quota& quota) {
  assert(reservation != kUnreserved);
  std::vector<size_t> wanted(classes_.size(), 0);
  for (const auto& [page_class, pages] : quota) wanted[page_class] += pages;
  auto& promises = reservations_[reservation];
  promises.resize(classes_.size());
  const auto set = [&](size_t i, size_t pages) {
    classes_[i].promised -= promises[i].outstanding();
    const size_t before = std::exchange(promises[i].quota, pages);
    classes_[i].promised += promises[i].outstanding();
    return before;
  };
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] > budget() / classes_[i].stride) return false;
  }
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = set(i, wanted[i]);
  if (fits({})) return true;
  for (size_t i = 0; i < wanted.size(); ++i) set(i, wanted[i]);
  return false;
}

void Pool::release(ReservationId reservation) {
  if (reservation == kUnreserved) return;
  auto& promises = reservations_[reservation];
  for (size_t i = 0; i < promises.size(); ++i) {
    assert(promises[i].claims() == 0);
    classes_[i].promised -= promises[i].outstanding();
  }
  promises.clear();
  free_reservations_.push_back(reservation);
}

Pool::Promise& Pool::promise(ReservationId reservation, PageClass page_class) {
  auto& promises = reservations_[reservation];
  if (promises.size() <= page_class) promises.resize(page_class + 1);
  return promises[page_class];
}

bool Pool::may_claim(ReservationId reservation, PageClass page_class) {
  const Promise& promised = promise(reservation, page_class);
  if (promised.claims() < promised.quota) return true;
  const std::pair<PageClass, size_t> one{page_class, 1};
  return fits({&one, 1});
}

// The reservation holds so many more (or fewer) pages of the class, charged to it or to others.
void Pool::charge(ReservationId reservation, PageClass page_class, int held, int shared) {
  Promise& promised = promise(reservation, page_class);
  classes_[page_class].promised -= promised.outstanding();
  promised.held += static_cast<size_t>(held);
  promised.shared += static_cast<size_t>(shared);
  classes_[page_class].promised += promised.outstanding();
}

// A slab of the class with a free page; takes a free slab if there is none.
uint32_t Pool::slab_with_room(PageClass page_class) {
  ClassInfo& info = classes_[page_class];
  // The lowest slab first: later ones empty and go back.
  if (!info.partial.empty()) return *info.partial.begin();
  assert(!free_slabs_.empty());
  const uint32_t index = free_slabs_.back();
  free_slabs_.pop_back();
  Slab& slab = slabs_[index];
  slab.page_class = page_class;
  if (slab.resident) idle_ -= slab_bytes_;
  // The first page that is touched brings a huge page's other ones along.
  const bool whole = slab.resident || slab_bytes_ == kHugeSlabBytes;
  slab.resident = false;
  slab.pages.assign(info.per_slab, {.resident = whole});
  if (whole) idle_ += info.per_slab * info.stride;
  slab.free_pages.resize(info.per_slab);
  for (uint32_t i = 0; i < info.per_slab; ++i) slab.free_pages[i] = info.per_slab - 1 - i;
  info.capacity += info.per_slab;
  info.partial.insert(index);
  wasted_ += slab_bytes_ - info.per_slab * info.stride;
  return index;
}

PageId Pool::allocate(PageClass page_class, ReservationId reservation) {
  const PageId page = claim(page_class, reservation);
  if (page != kNoPage) std::memset(data(page), 0, classes_[page_class].stride);
  return page;
}

PageId Pool::claim(PageClass page_class, ReservationId reservation) {
  if (!may_claim(reservation, page_class)) return kNoPage;
  const uint32_t index = slab_with_room(page_class);
  ClassInfo& info = classes_[page_class];
  Slab& slab = slabs_[index];
  const uint32_t slot = slab.free_pages.back();
  slab.free_pages.pop_back();
  if (slab.free_pages.empty()) info.partial.erase(index);
  ++info.pages;
  charge(reservation, page_class, 1, 0);
  if (slab.pages[slot].resident) idle_ -= info.stride;
  slab.pages[slot] = {.holders = 1, .charged = reservation, .resident = true};
  wasted_ += info.stride;
  return index << kIndexBits | slot;
}

// One more holder of a page that has some.
void Pool::add_holder(PageId page, uint64_t live) {
  PageInfo& page_info = info(page);
  Sharing& sharing = sharing_[page];
  if (page_info.holders == 1) {
    for (uint32_t slot = 0; slot < kPageSlots; ++slot)
      sharing.uses[slot] = page_info.live >> slot & 1;
  }
  ++page_info.holders;
  add_live(page, live);
}

bool Pool::share(PageId page, ReservationId holder, uint64_t live) {
  const PageClass page_class = class_of(page);
  if (!may_claim(holder, page_class)) return false;
  charge(holder, page_class, 0, 1);
  add_holder(page, live);
  sharing_[page].others.push_back(holder);
  return true;
}

void Pool::make_common(PageId page, ReservationId holder) {
  PageInfo& page_info = info(page);
  const PageClass page_class = class_of(page);
  const auto give_up = [&](int held, int shared) {
    Promise& promised = promise(holder, page_class);
    const bool counted_on = promised.quota >= promised.claims();
    charge(holder, page_class, held, shared);
    if (!counted_on) return;
    classes_[page_class].promised -= promised.outstanding();
    --promised.quota;
    classes_[page_class].promised += promised.outstanding();
  };
  if (!page_info.common && page_info.charged == holder) {
    page_info.common = true;
    return give_up(-1, 0);
  }
  const auto sharing = sharing_.find(page);
  if (sharing == sharing_.end()) return;
  auto& others = sharing->second.others;
  const auto claim = std::find(others.begin(), others.end(), holder);
  if (claim == others.end()) return;  // it gave up its claim before
  others.erase(claim);
  give_up(0, -1);
  if (page_info.common) return;
  // Whom the page counted against keeps room for one of its own.
  page_info.common = true;
  charge(page_info.charged, page_class, -1, 1);
  others.push_back(page_info.charged);
}

void Pool::hold_in_common(PageId page, ReservationId from, uint64_t live) {
  make_common(page, from);
  add_holder(page, live);
}

bool Pool::take_back(PageId page, ReservationId holder) {
  PageInfo& page_info = info(page);
  assert(page_info.common);
  if (page_info.holders > 1) return false;
  page_info.common = false;
  page_info.charged = holder;
  charge(holder, class_of(page), 1, 0);
  return true;
}

void Pool::free(PageId page, ReservationId holder, uint64_t live) {
  drop_live(page, live);
  PageInfo& page_info = info(page);
  const PageClass page_class = class_of(page);
  if (--page_info.holders == 0) {
    if (!page_info.common) charge(page_info.charged, page_class, -1, 0);
    give_back(page);
    return;
  }
  const auto sharing = sharing_.find(page);
  assert(sharing != sharing_.end());
  auto& others = sharing->second.others;
  const auto charge_another = [&] {
    page_info.charged = others.back();
    charge(page_info.charged, page_class, 1, -1);
    others.pop_back();
  };
  if (!page_info.common && page_info.charged == holder) {
    // Others stay: the page now counts against one of them. The memory is theirs to keep, and this
    // holder may take as much again.
    charge(holder, page_class, -1, 0);
    charge_another();
  } else if (const auto claim = std::find(others.begin(), others.end(), holder);
             claim != others.end()) {
    charge(holder, page_class, 0, -1);
    others.erase(claim);
  }
  if (page_info.holders > 1) return;
  if (page_info.common && !others.empty()) {
    page_info.common = false;
    charge_another();
  }
  sharing_.erase(sharing);
}

size_t Pool::shared_bytes() const {
  size_t bytes = 0;
  for (const auto& [page, sharing] : sharing_) {
    bytes += (info(page).holders - 1) * classes_[class_of(page)].stride;
  }
  return bytes;
}

void Pool::give_back(PageId page) {
  const uint32_t index = page >> kIndexBits;
  Slab& slab = slabs_[index];
  ClassInfo& info = classes_[slab.page_class];
  assert(this->info(page).live == 0);
  wasted_ -= info.stride;
  idle_ += info.stride;
  --info.pages;
  slab.free_pages.push_back(page & ((1u << kIndexBits) - 1));
  info.partial.insert(index);
  if (slab.free_pages.size() == info.per_slab) free_slab(index);
  if (idle_ > kIdleBytes + (used_ + wasted_) / 32) return_idle_memory();
}

// The slab is anyone's. Its memory stays for now: settling lets slabs go and takes them again at
// every step, and memory from the system costs more than what is written there.
void Pool::free_slab(uint32_t index) {
  Slab& slab = slabs_[index];
  ClassInfo& info = classes_[slab.page_class];
  for (const PageInfo& page : slab.pages) idle_ -= page.resident ? info.stride : 0;
  info.partial.erase(index);
  info.capacity -= info.per_slab;
  wasted_ -= slab_bytes_ - info.per_slab * info.stride;
  slab = {.resident = true};
  idle_ += slab_bytes_;
  free_slabs_.push_back(index);
}

// Returns the memory of free slabs, and of free pages in slabs that are still in use as far as
// neighbouring ones cover whole pages of the system.
void Pool::return_idle_memory() {
  static const auto system_page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  for (size_t index = 0; index < slabs_.size(); ++index) {
    Slab& slab = slabs_[index];
    if (std::exchange(slab.resident, false)) {
      ::madvise(memory_ + index * slab_bytes_, slab_bytes_, MADV_DONTNEED);
    }
    if (slab.page_class == kNoClass || slab.free_pages.empty()) continue;
    const size_t stride = classes_[slab.page_class].stride;
    for (size_t first = 0; first < slab.pages.size();) {
      size_t last = first;
      while (last < slab.pages.size() && slab.pages[last].holders == 0) {
        slab.pages[last++].resident = false;
      }
      const size_t begin = round_up(index * slab_bytes_ + first * stride, system_page);
      const size_t end = (index * slab_bytes_ + last * stride) / system_page * system_page;
      if (begin < end) ::madvise(memory_ + begin, end - begin, MADV_DONTNEED);
      first = last + 1;
    }
  }
  idle_ = 0;
}

// Both keep to the slots that change for everyone: those that nobody used before, or uses now.
void Pool::add_live(PageId page, uint64_t slots) {
  PageInfo& page_info = info(page);
  const auto sharing = page_info.holders > 1 ? sharing_.find(page) : sharing_.end();
  if (sharing != sharing_.end()) {
    for (uint64_t rest = slots; rest != 0; rest &= rest - 1) {
      ++sharing->second.uses[std::countr_zero(rest)];
    }
    slots &= ~page_info.live;
  }
  assert((page_info.live & slots) == 0);
  page_info.live |= slots;
  const size_t bytes =
      static_cast<size_t>(std::popcount(slots)) * classes_[class_of(page)].row_bytes;
  used_ += bytes;
  wasted_ -= bytes;
}

void Pool::drop_live(PageId page, uint64_t slots) {
  PageInfo& page_info = info(page);
  assert((page_info.live & slots) == slots);
  const auto sharing = page_info.holders > 1 ? sharing_.find(page) : sharing_.end();
  if (sharing != sharing_.end()) {
    for (uint64_t rest = slots; rest != 0; rest &= rest - 1) {
      uint32_t& uses = sharing->second.uses[std::countr_zero(rest)];
      if (--uses > 0) slots &= ~(rest & (~rest + 1));
    }
  }
  page_info.live &= ~slots;
  const size_t bytes =
      static_cast<size_t>(std::popcount(slots)) * classes_[class_of(page)].row_bytes;
  used_ -= bytes;
  wasted_ += bytes;
}

}  // namespace skvis
