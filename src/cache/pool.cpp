// SPDX-License-Identifier: Apache-2.0
#include "cache/pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "base/aligned.hpp"

namespace skvis {

Result<Pool> Pool::create(size_t budget, size_t slab_bytes) {
  const size_t slabs = budget / slab_bytes;
  if (slabs == 0) {
    return fail("KV memory of {} bytes is less than one slab of {} bytes", budget, slab_bytes);
  }
  if (slabs > (size_t{1} << (32 - kIndexBits))) {
    return fail("KV memory of {} bytes is more than {} slabs of {} bytes", budget,
                size_t{1} << (32 - kIndexBits), slab_bytes);
  }
  void* memory = ::mmap(nullptr, slabs * slab_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return fail("no address space for {} bytes of KV memory: {}", budget, std::strerror(errno));
  }
  Pool pool;
  pool.memory_ = static_cast<std::byte*>(memory);
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
      sharers_(std::move(other.sharers_)),
      used_(other.used_),
      wasted_(other.wasted_) {}

Pool::~Pool() {
  if (memory_ != nullptr) ::munmap(memory_, budget());
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
      const size_t live = std::count_if(page.uses.begin(), page.uses.end(),
                                        [](uint16_t uses) { return uses != 0; });
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

void Pool::release(ReservationId reservation) {
  if (reservation == kUnreserved) return;
  auto& promises = reservations_[reservation];
  for (size_t i = 0; i < promises.size(); ++i) {
    assert(promises[i].held == 0);
    classes_[i].promised -= promises[i].outstanding();
  }
  promises.clear();
  free_reservations_.push_back(reservation);
}

// The reservation holds `pages` more (or fewer) pages of the class.
void Pool::charge(ReservationId reservation, PageClass page_class, int pages) {
  if (reservation == kUnreserved) return;
  auto& promises = reservations_[reservation];
  if (promises.size() <= page_class) promises.resize(page_class + 1);
  Promise& promise = promises[page_class];
  classes_[page_class].promised -= promise.outstanding();
  promise.held += static_cast<size_t>(pages);
  classes_[page_class].promised += promise.outstanding();
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
  slab.pages.assign(info.per_slab, {});
  slab.free_pages.resize(info.per_slab);
  for (uint32_t i = 0; i < info.per_slab; ++i) slab.free_pages[i] = info.per_slab - 1 - i;
  info.capacity += info.per_slab;
  info.partial.insert(index);
  wasted_ += slab_bytes_ - info.per_slab * info.stride;
  return index;
}

PageId Pool::allocate(PageClass page_class, ReservationId reservation) {
  const bool promised = reservation != kUnreserved &&
                        page_class < reservations_[reservation].size() &&
                        reservations_[reservation][page_class].outstanding() > 0;
  if (!promised) {
    const std::pair<PageClass, size_t> one{page_class, 1};
    if (!fits({&one, 1})) return kNoPage;
  }
  const uint32_t index = slab_with_room(page_class);
  ClassInfo& info = classes_[page_class];
  Slab& slab = slabs_[index];
  const uint32_t slot = slab.free_pages.back();
  slab.free_pages.pop_back();
  if (slab.free_pages.empty()) info.partial.erase(index);
  ++info.pages;
  charge(reservation, page_class, 1);
  slab.pages[slot] = {.holders = 1, .charged = reservation};
  wasted_ += info.stride;
  const PageId page = index << kIndexBits | slot;
  std::memset(data(page), 0, info.stride);
  return page;
}

void Pool::share(PageId page, ReservationId holder, uint64_t live) {
  ++info(page).holders;
  sharers_[page].push_back(holder);
  add_live(page, live);
}

void Pool::free(PageId page, ReservationId holder, uint64_t live) {
  drop_live(page, live);
  PageInfo& page_info = info(page);
  const PageClass page_class = class_of(page);
  if (--page_info.holders == 0) {
    charge(page_info.charged, page_class, -1);
    give_back(page);
    return;
  }
  // Others stay. If the page counted against this holder, it now counts against one of them: the
  // memory is theirs to keep, and this holder may take as much again.
  auto sharers = sharers_.find(page);
  assert(sharers != sharers_.end());
  auto& list = sharers->second;
  if (page_info.charged == holder) {
    charge(holder, page_class, -1);
    page_info.charged = list.back();
    charge(page_info.charged, page_class, 1);
    list.pop_back();
  } else {
    list.erase(std::find(list.begin(), list.end(), holder));
  }
  if (list.empty()) sharers_.erase(sharers);
}

void Pool::give_back(PageId page) {
  const uint32_t index = page >> kIndexBits;
  Slab& slab = slabs_[index];
  ClassInfo& info = classes_[slab.page_class];
  assert(slab.pages[page & ((1u << kIndexBits) - 1)].live_slots == 0);
  wasted_ -= info.stride;
  --info.pages;
  slab.free_pages.push_back(page & ((1u << kIndexBits) - 1));
  info.partial.insert(index);
  if (slab.free_pages.size() < info.per_slab) return;
  info.partial.erase(index);
  info.capacity -= info.per_slab;
  wasted_ -= slab_bytes_ - info.per_slab * info.stride;
  slab = {};
  free_slabs_.push_back(index);
  // The promise is "bytes really freed": the process's resident memory falls too.
  ::madvise(memory_ + index * slab_bytes_, slab_bytes_, MADV_DONTNEED);
}

void Pool::add_live(PageId page, uint64_t slots) {
  PageInfo& page_info = info(page);
  size_t fresh = 0;
  for (uint64_t rest = slots; rest != 0; rest &= rest - 1) {
    fresh += page_info.uses[std::countr_zero(rest)]++ == 0;
  }
  page_info.live_slots += static_cast<uint32_t>(fresh);
  const size_t bytes = fresh * classes_[class_of(page)].row_bytes;
  used_ += bytes;
  wasted_ -= bytes;
}

void Pool::drop_live(PageId page, uint64_t slots) {
  PageInfo& page_info = info(page);
  size_t dead = 0;
  for (uint64_t rest = slots; rest != 0; rest &= rest - 1) {
    uint16_t& uses = page_info.uses[std::countr_zero(rest)];
    assert(uses > 0);
    dead += --uses == 0;
  }
  page_info.live_slots -= static_cast<uint32_t>(dead);
  const size_t bytes = dead * classes_[class_of(page)].row_bytes;
  used_ -= bytes;
  wasted_ += bytes;
}

uint64_t Pool::live(PageId page) const {
  uint64_t mask = 0;
  for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
    mask |= static_cast<uint64_t>(info(page).uses[slot] != 0) << slot;
  }
  return mask;
}

}  // namespace skvis
