// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.hpp"

namespace skvis {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// How a character that begins with `lead` goes on: its length and the range of its second byte
// (Unicode Standard, table 3-7). Length 0: no character begins so.
struct Shape {
  uint8_t length;
  uint8_t low;
  uint8_t high;
};

Shape shape_of(uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xc2) return {0, 0, 0};
  if (lead < 0xe0) return {2, 0x80, 0xbf};
  if (lead == 0xe0) return {3, 0xa0, 0xbf};
  if (lead == 0xed) return {3, 0x80, 0x9f};
  if (lead < 0xf0) return {3, 0x80, 0xbf};
  if (lead == 0xf0) return {4, 0x90, 0xbf};
  if (lead < 0xf4) return {4, 0x80, 0xbf};
  if (lead == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

// The longest beginning of `text` (not empty) that begins a character, and whether it is a whole
// one.
struct Start {
  size_t bytes;
  bool whole;
};

Start read_start(std::string_view text) {
  const Shape shape = shape_of(static_cast<uint8_t>(text[0]));
  if (shape.length <= 1) return {shape.length, shape.length == 1};
  size_t count = 1;
  while (count < shape.length && count < text.size()) {
    const auto byte = static_cast<uint8_t>(text[count]);
    const uint8_t low = count == 1 ? shape.low : 0x80;
    const uint8_t high = count == 1 ? shape.high : 0xbf;
    if (byte < low || byte > high) break;
    ++count;
  }
  return {count, count == shape.length};
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Start start = read_start(text.substr(i));
    if (!start.whole) return i;
    i += start.bytes;
  }
  return std::nullopt;
}

uint32_t utf8_code_point(std::string_view text) {
  const size_t length = utf8_length(text[0]);
  const auto lead = static_cast<uint8_t>(text[0]);
  if (length == 1) return lead;
  uint32_t code_point = lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    code_point = code_point << 6 | (static_cast<uint8_t>(text[i]) & 0x3fu);
  }
  return code_point;
}

void append_utf8(uint32_t code_point, std::string& out) {
  const auto tail = [&](int shift) {
    out.push_back(static_cast<char>(0x80 | (code_point >> shift & 0x3f)));
  };
  if (code_point < 0x80) {
    out.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | code_point >> 12));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0 | code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  std::string joined;
  if (!pending_.empty()) {
    joined = pending_;
    joined += bytes;
    bytes = joined;
    pending_.clear();
  }
  while (!bytes.empty()) {
    const Start start = read_start(bytes);
    if (start.whole) {
      out += bytes.substr(0, start.bytes);
    } else if (start.bytes > 0 && start.bytes == bytes.size()) {
      pending_ = bytes;  // the rest may still come
      return;
    } else {
      out += kReplacement;
    }
    bytes.remove_prefix(start.bytes == 0 ? 1 : start.bytes);
  }
}

void Utf8Stream::flush(std::string& out) {
  if (!pending_.empty()) out += kReplacement;
  pending_.clear();
}

}  // namespace skvis
