// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace skvis {
namespace {

// 0 when the unit is unknown.
double unit_bytes(std::string_view unit) {
  if (unit.empty() || unit == "B" || unit == "b") return 1;
  constexpr std::string_view kPrefixes = "kmgt";
  const auto lower = static_cast<char>(unit[0] | 0x20);
  const size_t power = kPrefixes.find(lower);
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = unit.substr(1);
  const double exponent = static_cast<double>(power + 1);
  if (rest.empty() || rest == "iB" || rest == "ib" || rest == "i") return std::pow(1024, exponent);
  if (rest == "B" || rest == "b") return std::pow(1000, exponent);
  return 0;
}

}  // namespace

Result<size_t> parse_bytes(std::string_view text, std::string_view what) {
  double number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  const double bytes = number * unit_bytes(unit);
  if (problem != std::errc() || !(bytes >= 1) || bytes > 1e15) {
    return fail("{}: '{}' is no size; expected a number of bytes such as 1GiB, 512MiB or 64k", what,
                text);
  }
  return static_cast<size_t>(bytes);
}

std::string format_bytes(double bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  const int digits = unit == 0 ? 0 : bytes < 10 ? 2 : bytes < 100 ? 1 : 0;
  return fmt::format("{:.{}f} {}", bytes, digits, kUnits[unit]);
}

}  // namespace skvis
