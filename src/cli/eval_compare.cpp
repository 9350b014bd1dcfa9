// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "cli/eval.hpp"
#include "kernels/table.hpp"

namespace skvis {
namespace {

// How many characters a terminal shows: UTF-8 without the bytes that continue one.
size_t shown_width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace

void CompareOptions::add_to(CLI::App& command) {
  model.add_to(command);
  command.remove_option(command.get_option("--kv"));
  command.add_option("--plans", plans,
                     "Plans to compare, separated by commas, e.g. int8,int4,snapkv-50");
  command
      .add_option("--kv", kvs, "One more plan, which may hold commas and blanks; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  command.add_option("--baseline", baseline, "The plan that others are compared with")
      ->capture_default_str();
  command.add_option(
      "--noise-floor", noise_floor,
      "Also run the baseline on this kernel level, e.g. avx2: what is no difference");
  command.add_option("--json", json,
                     "Write every result as one line of JSON to this file, at once");
  command.add_flag("--resume", resume, "Skip what that file holds already");
}

Result<ComparedPlans> CompareOptions::start() const {
  std::vector<std::string> texts;
  for (size_t begin = 0; begin < plans.size();) {
    const size_t end = std::min(plans.find(',', begin), plans.size());
    texts.push_back(plans.substr(begin, end - begin));
    begin = end + 1;
  }
  texts.insert(texts.end(), kvs.begin(), kvs.end());
  if (resume && json.empty()) return fail("--resume needs --json FILE to go on with");
  ModelOptions first = model;
  first.plan = baseline;
  SKVIS_TRY(std::shared_ptr<Engine> engine, start_engine(first));
  SKVIS_TRY(ComparedPlans compared, ComparedPlans::create(engine, baseline, texts));
  if (!noise_floor.empty()) {
    // Weights are packed for a level when they are loaded.
    ModelOptions other = first;
    other.kernels = noise_floor;
    const std::string level(kernels::level_name(kernels::active_kernels().level));
    if (level == noise_floor) {
      return fail("--noise-floor {}: that is the level of the run itself", noise_floor);
    }
    SKVIS_TRY(std::shared_ptr<Engine> floor, start_engine(other));
    compared.add_noise_floor(std::move(floor), noise_floor);
    SKVIS_CHECK(kernels::force_level(level));
  }
  return compared;
}

std::string with_error(const Estimate& value, int digits, bool sign) {
  std::string text = sign ? fmt::format("{:+.{}f}", value.mean, digits)
                          : fmt::format("{:.{}f}", value.mean, digits);
  if (!std::isnan(value.error)) text += fmt::format(" ±{:.{}f}", value.error, digits);
  return text;
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], shown_width(row[i]));
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(widths[i] - shown_width(row[i]), ' ');
      line += i == 0 ? row[i] + blanks : "  " + blanks + row[i];
    }
    fmt::print("{}\n", line);
  }
}

}  // namespace skvis
