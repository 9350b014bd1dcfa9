// SPDX-License-Identifier: Apache-2.0
// Everything that is wrong with a plan, collected so that its author sees it at once.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace skvis {

class Problems {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    add(Error{fmt::format(format, std::forward<Args>(args)...)});
  }
  void add(const Error& error) {
    if (lines_.size() < kMost) lines_.push_back(error.message);
    ++count_;
  }
  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  // One problem on one line, several one per line below a heading.
  Error error(std::string_view plan) const {
    if (count_ == 1) return fail("plan {}: {}", plan, lines_[0]);
    std::string text = fmt::format("plan {} has {} problems:", plan, count_);
    for (const std::string& line : lines_) text += "\n  " + line;
    if (count_ > lines_.size()) text += fmt::format("\n  and {} more", count_ - lines_.size());
    return Error{std::move(text)};
  }

 private:
  static constexpr size_t kMost = 32;  // a hostile plan may have a million
  std::vector<std::string> lines_;
  size_t count_ = 0;
};

}  // namespace skvis
