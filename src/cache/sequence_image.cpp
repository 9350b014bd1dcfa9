// SPDX-License-Identifier: Apache-2.0
#include "cache/sequence_image.hpp"

#include <xxhash.h>

#include <bit>
#include <cassert>
#include <cstring>
#include <type_traits>

namespace skvis {
namespace {

constexpr uint64_t kMagic = 0x3251455353495653u;  // "SVISSEQ2"

class Writer {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes(&value, sizeof value);
  }
  void bytes(const void* data, size_t size) {
    const auto* begin = static_cast<const std::byte*>(data);
    image_.insert(image_.end(), begin, begin + size);
  }
  void page(const Pool& pool, PageId page) {
    bytes(pool.data(page), pool.page_bytes(pool.class_of(page)));
  }
  std::vector<std::byte> finish() {
    put(uint64_t{XXH3_64bits(image_.data(), image_.size())});
    return std::move(image_);
  }

 private:
  std::vector<std::byte> image_;
};

// Reads in order; once something was missing, everything else is zero and ok() false.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> image) : rest_(image) {}
  template <typename T>
  T get() {
    T value{};
    if (const std::byte* data = take(sizeof value)) std::memcpy(&value, data, sizeof value);
    return value;
  }
  const std::byte* take(size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return nullptr;
    }
    const std::byte* data = rest_.data();
    rest_ = rest_.subspan(size);
    return data;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

// One page into the pool; kNoPage where the image or the pool ends.
PageId read_page(Reader& reader, Pool& pool, PageClass page_class, uint64_t live,
                 ReservationId holder) {
  const std::byte* data = reader.take(pool.page_bytes(page_class));
  if (data == nullptr) return kNoPage;
  const PageId page = pool.allocate(page_class, holder);
  if (page == kNoPage) return kNoPage;
  std::memcpy(pool.data(page), data, pool.page_bytes(page_class));
  pool.add_live(page, live);
  return page;
}

Error damaged(std::string_view what) {
  return fail("a written sequence of another plan or damaged: {}", what);
}

// Slots that an entry may use, and positions that lie in order below `end`.
bool possible(const PageEntry& entry, uint32_t end) {
  if (entry.filled > kPageSlots || (entry.live & ~slot_bits(0, entry.filled)) != 0) return false;
  if (entry.positions.empty()) return uint64_t{entry.first} + entry.filled <= end;
  for (size_t i = 0; i < entry.positions.size(); ++i) {
    if (entry.positions[i] >= end) return false;
    if (i > 0 && entry.positions[i] <= entry.positions[i - 1]) return false;
  }
  return true;
}

Result<PageEntry> read_entry(Reader& reader, const SequenceCache& sequence, PageClass page_class) {
  PageEntry entry;
  entry.live = reader.get<uint64_t>();
  entry.filled = reader.get<uint32_t>();
  entry.first = reader.get<uint32_t>();
  if (reader.get<uint8_t>() != 0) {
    for (uint32_t i = 0; i < std::min(entry.filled, kPageSlots); ++i) {
      entry.positions.push_back(reader.get<uint32_t>());
    }
  }
  if (!reader.ok() || !possible(entry, sequence.committed())) {
    return fail("a written sequence: a sealed page says what cannot be");
  }
  entry.page = read_page(reader, sequence.pool(), page_class, entry.live, sequence.reservation());
  if (entry.page == kNoPage) return fail("a written sequence: no memory, or its bytes end");
  if (sequence.layout().state_floats() > 0) {
    entry.state = read_page(reader, sequence.pool(), sequence.layout().state_class(), 1,
                            sequence.reservation());
    if (entry.state == kNoPage) {
      sequence.pool().free(entry.page, sequence.reservation(), entry.live);
      return fail("a written sequence: no memory, or its bytes end");
    }
  }
  return entry;
}

}  // namespace

std::vector<std::byte> SequenceImage::write(const SequenceCache& sequence) {
  assert(sequence.committed_ == sequence.length_ && !sequence.broken_);
  const Pool& pool = *sequence.pool_;
  Writer writer;
  writer.put(kMagic);
  writer.put(sequence.layout_->plan().identity);
  writer.put(sequence.committed_);
  writer.put(sequence.open_begin_);
  writer.put(sequence.open_base_);
  writer.put(sequence.judged_end_);
  const auto put_exact = [&](const ExactPage& page) {
    writer.put(page.live);
    writer.page(pool, page.page);
  };
  for (uint32_t i = 0; i < sequence.heads_.size(); ++i) {
    if (!sequence.layout_->head(i).owned) continue;
    const HeadCache& head = sequence.heads_[i];
    writer.put(uint8_t{head.sinks.page != kNoPage});
    if (head.sinks.page != kNoPage) put_exact(head.sinks);
    writer.put(static_cast<uint32_t>(head.open.size()));
    for (const ExactPage& open : head.open) put_exact(open);
    writer.put(static_cast<uint32_t>(head.sealed.pages.size()));
    for (const PageEntry& entry : head.sealed.pages) {
      writer.put(entry.live);
      writer.put(entry.filled);
      writer.put(entry.first);
      writer.put(uint8_t{!entry.positions.empty()});
      writer.bytes(entry.positions.data(), entry.positions.size() * sizeof(uint32_t));
      writer.page(pool, entry.page);
      if (entry.state != kNoPage) writer.page(pool, entry.state);
    }
    writer.put(uint8_t{head.moments != kNoPage});
    if (head.moments != kNoPage) writer.page(pool, head.moments);
    writer.bytes(head.state.data(), head.state.size() * sizeof(float));
  }
  writer.put(sequence.waiting_begin_);
  writer.put(sequence.waiting_end_);
  for (const PageId page : sequence.waiting_) writer.page(pool, page);
  writer.put(static_cast<uint32_t>(sequence.queries_.size()));
  for (const PageId page : sequence.queries_) {
    if (page != kNoPage) writer.page(pool, page);
  }
  return writer.finish();
}

// The parts of an image in their order, into a sequence that frees them on errors.
class SequenceImage::Reading {
 public:
  Reading(Reader& reader, SequenceCache& sequence)
      : reader_(reader),
        sequence_(sequence),
        layout_(sequence.layout()),
        pool_(sequence.pool()),
        reservation_(sequence.reservation()) {}

  Result<void> positions();
  Result<void> head(uint32_t index);
  Result<void> waiting_rows();
  Result<void> observed_queries();

 private:
  bool exact(PageClass page_class, uint32_t rows, ExactPage& page);
  bool side(PageClass page_class, PageId& page) {
    page = read_page(reader_, pool_, page_class, 1, reservation_);
    return page != kNoPage;
  }

  Reader& reader_;
  SequenceCache& sequence_;
  const CacheLayout& layout_;
  Pool& pool_;
  ReservationId reservation_;
};

Result<void> SequenceImage::Reading::positions() {
  sequence_.committed_ = sequence_.length_ = reader_.get<uint32_t>();
  sequence_.open_begin_ = reader_.get<uint32_t>();
  sequence_.open_base_ = reader_.get<uint32_t>();
  sequence_.judged_end_ = reader_.get<uint32_t>();
  const uint32_t sinks = layout_.plan().sinks;
  const uint32_t most = std::max(sequence_.committed_, sinks);
  if (sequence_.open_base_ < sinks || sequence_.open_begin_ < sequence_.open_base_ ||
      sequence_.open_begin_ > most || sequence_.judged_end_ > most) {
    return damaged("its positions cannot be");
  }
  return {};
}

bool SequenceImage::Reading::exact(PageClass page_class, uint32_t rows, ExactPage& page) {
  page.live = reader_.get<uint64_t>();
  if ((page.live & ~slot_bits(0, rows)) != 0) return false;
  page.page = read_page(reader_, pool_, page_class, page.live, reservation_);
  return page.page != kNoPage;
}

Result<void> SequenceImage::Reading::head(uint32_t index) {
  HeadCache& head = sequence_.heads_[index];
  const uint32_t end = sequence_.committed_;
  const uint32_t sinks = layout_.plan().sinks;
  const bool has_sinks = reader_.get<uint8_t>() != 0;
  // A sliding layer gives them up once they lie outside its window.
  const uint32_t window = layout_.head(index).window;
  const bool may_lack = window > 0 && end > window;
  const bool expected = end > 0 && sinks > 0;
  if (has_sinks != expected && !(expected && may_lack)) return damaged("sinks");
  if (has_sinks && !exact(layout_.sinks_class(), std::min(end, sinks), head.sinks)) {
    return damaged("sinks");
  }
  const uint32_t open_rows = end - std::min(end, sequence_.open_base_);
  const auto pages = reader_.get<uint32_t>();
  if (pages != (open_rows + kOpenSlots - 1) / kOpenSlots) return damaged("open pages");
  for (uint32_t k = 0; k < pages; ++k) {
    ExactPage page;
    const uint32_t rows = std::min(kOpenSlots, open_rows - k * kOpenSlots);
    if (!exact(layout_.open_class(), rows, page)) return damaged("an open page");
    head.open.push_back(page);
  }
  for (auto left = reader_.get<uint32_t>(); left > 0; --left) {
    SKVIS_TRY(PageEntry entry, read_entry(reader_, sequence_, layout_.head(index).sealed));
    head.sealed.pages.push_back(std::move(entry));
  }
  if (reader_.get<uint8_t>() != 0) {
    if (!layout_.needs().query_moments) return damaged("moments");
    if (!side(layout_.moments_class(), head.moments)) return damaged("moments");
  }
  const size_t bytes = head.state.size() * sizeof(float);
  if (const std::byte* state = reader_.take(bytes); state != nullptr && bytes > 0) {
    std::memcpy(head.state.data(), state, bytes);
  }
  return {};
}

Result<void> SequenceImage::Reading::waiting_rows() {
  const auto begin = sequence_.waiting_begin_ = reader_.get<uint32_t>();
  const auto end = sequence_.waiting_end_ = reader_.get<uint32_t>();
  const bool waits = end > begin;
  if (begin > end || end > sequence_.committed_ ||
      (waits && (!layout_.filters_rows() ||
                 std::max(begin, layout_.plan().sinks) < sequence_.open_begin_))) {
    return damaged("waiting rows");
  }
  for (uint32_t k = 0; k < (end - begin + kOpenSlots - 1) / kOpenSlots; ++k) {
    PageId page = kNoPage;
    if (!side(layout_.waiting_class(), page)) return damaged("waiting rows");
    sequence_.waiting_.push_back(page);
  }
  return {};
}

Result<void> SequenceImage::Reading::observed_queries() {
  const auto layers = reader_.get<uint32_t>();
  // A fork at a grid point has none yet.
  const bool observes = layout_.observe() > 0 && sequence_.committed_ > 0;
  if (layers != 0 && (!observes || layers != layout_.shape().layers)) {
    return damaged("observed queries");
  }
  for (uint32_t layer = 0; layer < layers; ++layer) {
    PageId page = kNoPage;
    if (layout_.owns(layer) && !side(layout_.queries_class(), page)) {
      return damaged("observed queries");
    }
    sequence_.queries_.push_back(page);
  }
  return {};
}

Result<SequenceCache> SequenceImage::read(std::span<const std::byte> image,
                                          const CacheLayout& layout, Pool& pool,
                                          ReservationId reservation) {
  SequenceCache sequence(layout, pool, reservation);  // frees everything on errors
  uint64_t sum = 0;
  if (image.size() < sizeof sum) return damaged("it is too short");
  const size_t size = image.size() - sizeof sum;
  std::memcpy(&sum, image.data() + size, sizeof sum);
  if (sum != XXH3_64bits(image.data(), size)) return damaged("its checksum is wrong");
  Reader reader(image.first(size));
  if (reader.get<uint64_t>() != kMagic) return damaged("it does not begin like one");
  if (reader.get<uint64_t>() != layout.plan().identity) return damaged("the plan is another");
  Reading reading(reader, sequence);
  SKVIS_CHECK(reading.positions());
  for (uint32_t i = 0; i < layout.heads(); ++i) {
    if (layout.head(i).owned) SKVIS_CHECK(reading.head(i));
  }
  SKVIS_CHECK(reading.waiting_rows());
  SKVIS_CHECK(reading.observed_queries());
  if (!reader.at_end()) return damaged("bytes are missing or too many");
  return sequence;
}

}  // namespace skvis
