// SPDX-License-Identifier: Apache-2.0
#include "grammar/code_points.hpp"

#include <algorithm>

namespace skvis {

CodePointSet CodePointSet::all() {
  return of({{0, kMaxCodePoint}});
}

CodePointSet CodePointSet::of(std::initializer_list<CodePointRange> ranges) {
  CodePointSet set;
  for (const auto& [first, last] : ranges) set.add(first, last);
  return set;
}

void CodePointSet::add(uint32_t first, uint32_t last) {
  last = std::min(last, kMaxCodePoint);
  if (first < 0xd800) add_plain(first, std::min(last, 0xd7ffu));
  if (last > 0xdfff) add_plain(std::max(first, 0xe000u), last);
}

void CodePointSet::add_plain(uint32_t first, uint32_t last) {
  if (first > last) return;
  // All ranges that overlap or touch the new one become part of it.
  auto begin = std::lower_bound(
      ranges_.begin(), ranges_.end(), first,
      [](const CodePointRange& range, uint32_t value) { return range.second + 1 < value; });
  auto end = begin;
  for (; end != ranges_.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->second);
  }
  begin = ranges_.erase(begin, end);
  ranges_.insert(begin, {first, last});
}

void CodePointSet::add(const CodePointSet& other) {
  for (const auto& [first, last] : other.ranges_) add_plain(first, last);
}

CodePointSet CodePointSet::without(const CodePointSet& other) const {
  CodePointSet left;
  auto cut = other.ranges_.begin();
  for (auto [first, last] : ranges_) {
    while (cut != other.ranges_.end() && cut->second < first) ++cut;
    auto each = cut;
    bool any = true;
    for (; each != other.ranges_.end() && each->first <= last; ++each) {
      if (each->first > first) left.ranges_.push_back({first, each->first - 1});
      if (each->second >= last) {
        any = false;
        break;
      }
      first = std::max(first, each->second + 1);
    }
    if (any) left.ranges_.push_back({first, last});
  }
  return left;
}

CodePointSet CodePointSet::intersected(const CodePointSet& other) const {
  return without(other.negated());
}

bool CodePointSet::contains(uint32_t code_point) const {
  const auto after = std::upper_bound(
      ranges_.begin(), ranges_.end(), code_point,
      [](uint32_t value, const CodePointRange& range) { return value < range.first; });
  return after != ranges_.begin() && std::prev(after)->second >= code_point;
}

std::optional<uint32_t> read_code_point(std::string_view text, size_t& at) {
  if (at >= text.size()) return std::nullopt;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint32_t lead = byte(at);
  const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (length == 0 || lead > 0xf4 || at + length > text.size()) return std::nullopt;
  uint32_t value = length == 1 ? lead : lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return std::nullopt;
    value = value << 6 | (byte(at + i) & 0x3f);
  }
  const bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  if (overlong || value > kMaxCodePoint || (value >= 0xd800 && value <= 0xdfff)) {
    return std::nullopt;
  }
  at += length;
  return value;
}

void append_code_point(uint32_t code_point, std::string& out) {
  const auto push = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xc0 | code_point >> 6);
    push(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    push(0xe0 | code_point >> 12);
    push(0x80 | (code_point >> 6 & 0x3f));
    push(0x80 | (code_point & 0x3f));
  } else {
    push(0xf0 | code_point >> 18);
    push(0x80 | (code_point >> 12 & 0x3f));
    push(0x80 | (code_point >> 6 & 0x3f));
    push(0x80 | (code_point & 0x3f));
  }
}

}  // namespace skvis
