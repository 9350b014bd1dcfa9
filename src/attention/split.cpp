// SPDX-License-Identifier: Apache-2.0
#include "attention/split.hpp"

#include <algorithm>

namespace skvis {
namespace {

// sums [n + 1]: bytes before each partial.
std::vector<uint64_t> running_sums(std::span<const uint32_t> bytes) {
  std::vector<uint64_t> sums = {0};
  sums.reserve(bytes.size() + 1);
  for (const uint32_t each : bytes) sums.push_back(sums.back() + each);
  return sums;
}

// Where a run that begins at `first` and may hold `most` bytes ends.
size_t end_of_run(const std::vector<uint64_t>& sums, size_t first, uint64_t most) {
  const auto after = std::upper_bound(sums.begin() + static_cast<ptrdiff_t>(first), sums.end(),
                                      sums[first] + most);
  return static_cast<size_t>(after - sums.begin()) - 1;
}

bool fits(const std::vector<uint64_t>& sums, uint32_t workers, uint64_t most) {
  size_t first = 0;
  for (uint32_t worker = 0; worker < workers && first + 1 < sums.size(); ++worker) {
    first = end_of_run(sums, first, most);
  }
  return first + 1 == sums.size();
}

}  // namespace

std::vector<uint32_t> even_borders(std::span<const uint32_t> bytes, uint32_t workers) {
  const std::vector<uint64_t> sums = running_sums(bytes);
  const uint64_t largest = bytes.empty() ? 0 : *std::max_element(bytes.begin(), bytes.end());
  const uint64_t mean = (sums.back() + workers - 1) / workers;
  uint64_t low = std::max(mean, largest);  // no less is possible
  uint64_t high = mean + largest;          // runs of the mean and what they cut through
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (fits(sums, workers, middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  std::vector<uint32_t> borders = {0};
  for (uint32_t worker = 0; worker < workers; ++worker) {
    borders.push_back(static_cast<uint32_t>(end_of_run(sums, borders.back(), low)));
  }
  return borders;
}

double imbalance(std::span<const uint32_t> bytes, std::span<const uint32_t> borders) {
  const std::vector<uint64_t> sums = running_sums(bytes);
  if (sums.back() == 0) return 1;
  uint64_t largest = 0;
  for (size_t i = 1; i < borders.size(); ++i) {
    largest = std::max(largest, sums[borders[i]] - sums[borders[i - 1]]);
  }
  return static_cast<double>(largest) * static_cast<double>(borders.size() - 1) /
         static_cast<double>(sums.back());
}

bool SplitTable::same(std::span<const uint32_t> classes) {
  if (computed_ > 0 && std::ranges::equal(classes, classes_)) return true;
  classes_.assign(classes.begin(), classes.end());
  return false;
}

void SplitTable::compute() {
  borders_ = even_borders(bytes_, workers_);
  ++computed_;
}

}  // namespace skvis
