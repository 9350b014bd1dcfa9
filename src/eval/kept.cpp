// SPDX-License-Identifier: Apache-2.0
#include "eval/kept.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>

#include "cache/rows.hpp"

namespace skvis {
namespace {

constexpr uint32_t kMostTokens = 1u << 24;

std::string ranges_of(const std::vector<uint32_t>& rows) {
  std::string text;
  for (size_t i = 0; i < rows.size();) {
    size_t end = i + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text +=
        end - i == 1 ? fmt::format("{}", rows[i]) : fmt::format("{}-{}", rows[i], rows[end - 1]);
    i = end;
  }
  return text;
}

// Reads a number below `tokens` off the front of `text`.
std::optional<uint32_t> take_number(std::string_view& text, uint32_t tokens) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value >= tokens) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

// Ascending ranges; nothing where the text is anything else.
std::optional<std::vector<uint32_t>> rows_of_ranges(std::string_view text, uint32_t tokens) {
  std::vector<uint32_t> rows;
  while (!text.empty()) {
    const auto first = take_number(text, tokens);
    if (!first || (!rows.empty() && *first <= rows.back())) return std::nullopt;
    uint32_t last = *first;
    if (text.starts_with('-')) {
      text.remove_prefix(1);
      const auto given = take_number(text, tokens);
      if (!given || *given < *first) return std::nullopt;
      last = *given;
    }
    for (uint32_t row = *first; row <= last; ++row) rows.push_back(row);
    if (text.empty()) break;
    if (!text.starts_with(',') || text.size() == 1) return std::nullopt;
    text.remove_prefix(1);
  }
  return rows;
}

}  // namespace

KeptRows kept_rows(const SequenceCache& sequence) {
  KeptRows kept(sequence.layout().heads());
  for (uint32_t head = 0; head < kept.size(); ++head) {
    for (const LiveRow& row : live_rows(sequence, head, sequence.committed())) {
      kept[head].push_back(row.position);
    }
  }
  return kept;
}

Json kept_to_json(const KeptRows& kept, const CacheShape& shape, uint32_t tokens) {
  size_t total = 0;
  Json layers = Json::array();
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    Json heads = Json::array();
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      const auto& rows = kept[shape.index({layer, head})];
      total += rows.size();
      heads.push_back(ranges_of(rows));
    }
    layers.push_back(std::move(heads));
  }
  return {{"tokens", tokens}, {"kept_total", total}, {"kept", std::move(layers)}};
}

Result<KeptRows> kept_from_json(const Json& json, std::string_view origin,
                                const CacheShape& shape) {
  const bool object = json.is_object() && json.contains("tokens") && json.contains("kept");
  if (!object || !json["tokens"].is_number_unsigned() ||
      json["tokens"].get<uint64_t>() > kMostTokens || !json["kept"].is_array()) {
    return fail("{}: expected an object with 'tokens', at most {}, and an array 'kept'", origin,
                kMostTokens);
  }
  const auto tokens = json["tokens"].get<uint32_t>();
  const Json& layers = json["kept"];
  if (layers.size() != shape.layers) {
    return fail("{}: 'kept' has {} layers, expected {}", origin, layers.size(), shape.layers);
  }
  KeptRows kept;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    if (!layers[layer].is_array() || layers[layer].size() != shape.kv_heads) {
      return fail("{}: kept[{}] is not an array of {} heads", origin, layer, shape.kv_heads);
    }
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      const Json& text = layers[layer][head];
      auto rows = text.is_string() ? rows_of_ranges(text.get_ref<const std::string&>(), tokens)
                                   : std::nullopt;
      if (!rows) {
        return fail("{}: kept[{}][{}] is not a list of ascending ranges below {}", origin, layer,
                    head, tokens);
      }
      kept.push_back(std::move(*rows));
    }
  }
  return kept;
}

Agreement agreement(const KeptRows& a, const KeptRows& b) {
  Agreement result;
  double sum = 0;
  for (uint32_t head = 0; head < a.size(); ++head) {
    std::vector<uint32_t> both;
    std::set_intersection(a[head].begin(), a[head].end(), b[head].begin(), b[head].end(),
                          std::back_inserter(both));
    const size_t either = a[head].size() + b[head].size() - both.size();
    const double index =
        either == 0 ? 1.0 : static_cast<double>(both.size()) / static_cast<double>(either);
    sum += index;
    if (index < result.worst) {
      result.worst = index;
      result.worst_head = head;
    }
  }
  if (!a.empty()) result.mean = sum / static_cast<double>(a.size());
  return result;
}

}  // namespace skvis
