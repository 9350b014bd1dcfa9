// SPDX-License-Identifier: Apache-2.0
#include "plan/ranges.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/nearest.hpp"

namespace skvis {
namespace {

constexpr size_t kLongestRange = 16384;  // a list of every second layer of the largest model

bool read_number(std::string_view& text, uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

// "3", "0-3", "4-" or "*" into [first, last]; false if it is none of these.
bool read_part(std::string_view part, uint32_t limit, uint32_t& first, uint32_t& last) {
  if (part == "*") return first = 0, last = limit - 1, true;
  if (!read_number(part, first)) return false;
  last = first;
  if (part.empty()) return true;
  if (part.front() != '-') return false;
  part.remove_prefix(1);
  if (part.empty()) return last = std::max(first, limit - 1), true;
  return read_number(part, last) && part.empty() && first <= last;
}

}  // namespace

std::vector<uint8_t> parse_ranges(std::string_view text, uint32_t limit, std::string_view where,
                                  std::string_view noun, Problems& problems) {
  std::vector<uint8_t> flags(limit, 0);
  if (text.size() > kLongestRange) {
    problems.add("{}.{}: {} characters are too many, expected at most {}", where, noun, text.size(),
                 kLongestRange);
    return flags;
  }
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    uint32_t first = 0;
    uint32_t last = 0;
    if (!read_part(part, limit, first, last)) {
      problems.add("{}.{}: {} is no range; expected forms are 3, 0-3, 4-, * and lists of them",
                   where, noun, in_quotes(part));
    } else if (last >= limit) {
      problems.add("{}.{}: {} goes beyond the model's {} {}, numbered 0-{}", where, noun,
                   in_quotes(part), limit, noun, limit - 1);
    } else {
      std::fill(flags.begin() + first, flags.begin() + last + 1, 1);
    }
    begin = end + 1;
  }
  return flags;
}

std::string ranges_text(const std::vector<uint8_t>& flags) {
  if (std::all_of(flags.begin(), flags.end(), [](uint8_t flag) { return flag != 0; })) return "*";
  std::string text;
  for (size_t i = 0; i < flags.size(); ++i) {
    if (flags[i] == 0) continue;
    size_t last = i;
    while (last + 1 < flags.size() && flags[last + 1] != 0) ++last;
    if (!text.empty()) text += ',';
    text += last == i ? fmt::format("{}", i) : fmt::format("{}-{}", i, last);
    i = last;
  }
  return text;
}

std::vector<HeadRange> fold_heads(const CacheShape& shape,
                                  const std::function<std::string(uint32_t)>& kind) {
  // Layers whose heads have the same kinds in the same order share their ranges.
  std::map<std::vector<std::string>, std::vector<uint8_t>> layers_of;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    std::vector<std::string> kinds;
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      kinds.push_back(kind(shape.index({layer, head})));
    }
    auto& layers = layers_of[kinds];
    layers.resize(shape.layers, 0);
    layers[layer] = 1;
  }
  std::vector<HeadRange> ranges;
  for (const auto& [kinds, layers] : layers_of) {
    std::map<std::string, std::vector<uint8_t>> heads_of;
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      if (kinds[head].empty()) continue;
      auto& heads = heads_of[kinds[head]];
      heads.resize(shape.kv_heads, 0);
      heads[head] = 1;
    }
    const auto first_layer =
        static_cast<uint32_t>(std::find(layers.begin(), layers.end(), 1) - layers.begin());
    const auto layer_count =
        static_cast<uint32_t>(std::count(layers.begin(), layers.end(), uint8_t{1}));
    for (const auto& [name, heads] : heads_of) {
      const auto first_head =
          static_cast<uint32_t>(std::find(heads.begin(), heads.end(), 1) - heads.begin());
      const auto head_count =
          static_cast<uint32_t>(std::count(heads.begin(), heads.end(), uint8_t{1}));
      ranges.push_back({ranges_text(layers), ranges_text(heads),
                        shape.index({first_layer, first_head}), layer_count * head_count});
    }
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const HeadRange& a, const HeadRange& b) { return a.first < b.first; });
  return ranges;
}

}  // namespace skvis
