// SPDX-License-Identifier: Apache-2.0
// Sets of Unicode characters, and UTF-8 one character at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skvis {

constexpr uint32_t kMaxCodePoint = 0x10ffff;

// First and last character of a range, both included.
using CodePointRange = std::pair<uint32_t, uint32_t>;

// Characters as sorted ranges that neither overlap nor touch. Surrogates (U+D800 to U+DFFF) are no
// characters and are left out of whatever is added.
class CodePointSet {
 public:
  CodePointSet() = default;
  static CodePointSet all();
  static CodePointSet of(std::initializer_list<CodePointRange> ranges);

  void add(uint32_t first, uint32_t last);
  void add(const CodePointSet& other);
  CodePointSet without(const CodePointSet& other) const;
  CodePointSet intersected(const CodePointSet& other) const;
  CodePointSet negated() const { return all().without(*this); }

  bool empty() const { return ranges_.empty(); }
  bool contains(uint32_t code_point) const;
  const std::vector<CodePointRange>& ranges() const { return ranges_; }
  auto operator<=>(const CodePointSet&) const = default;

 private:
  void add_plain(uint32_t first, uint32_t last);
  std::vector<CodePointRange> ranges_;
};

// The character at `text[at]`, moving `at` behind it; nothing where the bytes are not UTF-8.
std::optional<uint32_t> read_code_point(std::string_view text, size_t& at);

// `code_point` must be a character (no surrogate, at most kMaxCodePoint).
void append_code_point(uint32_t code_point, std::string& out);

}  // namespace skvis
