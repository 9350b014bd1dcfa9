// SPDX-License-Identifier: Apache-2.0
#include "plan/table.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "plan/ranges.hpp"
#include "plan/read.hpp"

namespace skvis {
namespace {

constexpr uint64_t kFullElementBytes = 2;  // F16

struct HeadBytes {
  uint32_t rows = 0;       // kept
  uint32_t most_rows = 0;  // that the full cache would hold
  uint64_t settled = 0;
  uint64_t full = 0;
};

// Every head's rows and bytes at `tokens` tokens.
std::vector<HeadBytes> head_bytes(const Plan& plan, uint32_t tokens) {
  const CacheShape& shape = plan.shape;
  std::vector<uint32_t> counts(shape.heads(), tokens);
  if (plan.drops()) plan.keep.budget->counts(plan.budget_request(tokens), counts);
  const uint64_t least = plan.protected_rows();
  std::vector<HeadBytes> heads(shape.heads());
  for (uint32_t i = 0; i < shape.heads(); ++i) {
    const uint32_t layer = shape.head(i).layer;
    if (!shape.owner.empty() && shape.owner[layer] != layer) continue;  // holds nothing itself
    const uint32_t window = shape.window.empty() ? 0 : shape.window[layer];
    HeadBytes& head = heads[i];
    head.most_rows = window != 0 ? std::min(window, tokens) : tokens;
    head.rows = std::min(counts[i], head.most_rows);
    if (!plan.heads[i].keep_all) {  // protected rows stay, whatever the budget says
      head.rows = static_cast<uint32_t>(
          std::min<uint64_t>(std::max<uint64_t>(head.rows, least), head.most_rows));
    }
    // The sinks of a sliding layer have left its window, or are in it like any other row.
    const bool slid = window != 0 && tokens > window;
    const uint32_t exact = std::min(head.rows, plan.exact + (slid ? 0 : plan.sinks));
    head.settled =
        uint64_t{exact} * plan.exact_row_bytes() + uint64_t{head.rows - exact} * plan.row_bytes[i];
    head.full = uint64_t{head.most_rows} * 2 * shape.head_dim * kFullElementBytes;
  }
  return heads;
}

using Line = std::array<std::string, 8>;

std::string aligned_lines(const std::vector<Line>& lines) {
  std::array<size_t, std::tuple_size_v<Line>> widths{};
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const Line& line : lines) {
    std::string row;
    for (size_t i = 0; i < line.size(); ++i) {
      row += i < 4 ? fmt::format("{:<{}}  ", line[i], widths[i])
                   : fmt::format("{:>{}}  ", line[i], widths[i]);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

std::string settle_text(const SettleRule& settle) {
  std::string text;
  if (settle.step != 0) text = fmt::format("every {} tokens", settle.step);
  if (!settle.positions.empty()) {
    text = fmt::format("at {} positions, {} to {}", settle.positions.size(),
                       settle.positions.front(), settle.positions.back());
  }
  if (!settle.at_prompt_end) return text;
  return text.empty() ? "once, at the prompt's end" : text + " and at the prompt's end";
}

std::string keep_text(const Plan& plan) {
  if (!plan.drops()) return "every row";
  std::string text(plan.keep.selector->name);
  for (const Refinement* refinement : plan.keep.refine) {
    text += fmt::format(", refined by {}", refinement->name);
  }
  text += fmt::format(", budget {}", plan.keep.budget->name);
  if (plan.keep.table.empty() && plan.keep.budget->takes_amount) {
    const Amount& amount = plan.keep.amount;
    if (amount.unit == AmountUnit::ratio) text += fmt::format(" {} of the tokens", amount.value);
    if (amount.unit == AmountUnit::tokens) text += fmt::format(" {} tokens", amount.value);
    if (amount.unit == AmountUnit::bytes) text += " " + bytes_text(amount.value);
  }
  for (const Parameter& parameter : plan.keep.parameters()) {
    const double value = plan.keep.settings.find(parameter.name)->second;
    if (parameter.words.empty()) {
      text += fmt::format(", {} {}", parameter.name, value);
    } else {
      text += fmt::format(", {} {}", parameter.name, parameter.words[static_cast<size_t>(value)]);
    }
  }
  return text;
}

}  // namespace

std::string bytes_text(double bytes) {
  constexpr std::array<std::string_view, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 10240) return fmt::format("{:.0f} B", bytes);
  size_t unit = 0;
  bytes /= 1024;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

PlanBytes plan_bytes(const Plan& plan, uint32_t tokens) {
  PlanBytes sum;
  for (const HeadBytes& head : head_bytes(plan, tokens)) {
    sum.settled += head.settled;
    sum.full += head.full;
  }
  if (tokens > 0) {
    sum.settled_per_token = static_cast<double>(sum.settled) / tokens;
    sum.full_per_token = static_cast<double>(sum.full) / tokens;
  }
  return sum;
}

std::string plan_table(const Plan& plan, uint32_t tokens) {
  const std::vector<HeadBytes> heads = head_bytes(plan, tokens);
  const auto kind = [&](uint32_t i) {
    const uint32_t layer = plan.shape.head(i).layer;
    const uint32_t window = plan.shape.window.empty() ? 0 : plan.shape.window[layer];
    const uint32_t owner = plan.shape.owner.empty() ? layer : plan.shape.owner[layer];
    return fmt::format("{}\n{}\n{} {} {} {}", plan.heads[i].key.text(), plan.heads[i].value.text(),
                       heads[i].rows, plan.heads[i].keep_all, window,
                       owner == layer ? std::string("own") : fmt::format("{}", owner));
  };
  std::vector<Line> lines = {
      {"layers", "heads", "key", "value", "rows kept", "share", "bytes per row", "full row"}};
  for (const HeadRange& range : fold_heads(plan.shape, kind)) {
    const HeadBytes& head = heads[range.first];
    const uint32_t layer = plan.shape.head(range.first).layer;
    const bool slides = !plan.shape.window.empty() && plan.shape.window[layer] != 0;
    const double share = head.most_rows != 0 ? 100.0 * head.rows / head.most_rows : 100.0;
    std::string share_text = fmt::format("{:.1f} %", share);
    if (slides) share_text = fmt::format("window {}", plan.shape.window[layer]);
    if (!plan.shape.owner.empty() && plan.shape.owner[layer] != layer) {
      share_text = fmt::format("of layer {}", plan.shape.owner[layer]);
    }
    lines.push_back({range.layers, range.heads, plan.heads[range.first].key.text(),
                     plan.heads[range.first].value.text(), fmt::format("{}", head.rows), share_text,
                     fmt::format("{}", plan.row_bytes[range.first]),
                     fmt::format("{}", 2 * plan.shape.head_dim * kFullElementBytes)});
  }
  const PlanBytes bytes = plan_bytes(plan, tokens);
  std::string text = aligned_lines(lines);
  text += fmt::format("\nkeep    {}\nsettle  {}\n", keep_text(plan), settle_text(plan.settle));
  text +=
      fmt::format("exact   {} sinks, {} newest tokens, in {}; the newest {} are never dropped\n",
                  plan.sinks, plan.exact, exact_type_name(plan.exact_type), plan.protected_tail());
  const double percent =
      bytes.full != 0 ? 100.0 * static_cast<double>(bytes.settled) / static_cast<double>(bytes.full)
                      : 100.0;
  text += fmt::format(
      "\nrows of a sequence settled at {} tokens (without what pages leave empty):\n"
      "  this plan   {:>10}  {:>8.0f} B per token  {:.1f} % of the full cache\n"
      "  full cache  {:>10}  {:>8.0f} B per token  every row in f16\n",
      tokens, bytes_text(static_cast<double>(bytes.settled)), bytes.settled_per_token, percent,
      bytes_text(static_cast<double>(bytes.full)), bytes.full_per_token);
  return text;
}

}  // namespace skvis
