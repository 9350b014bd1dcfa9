// SPDX-License-Identifier: Apache-2.0
#include "eval/calibrate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/kept.hpp"

namespace skvis {
namespace {

double sum_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// Ranks from 0; equal values share the mean of theirs.
std::vector<double> ranks_of(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;
    }
    begin = end;
  }
  return ranks;
}

// What each selectable head kept of the rows that could be dropped.
std::vector<double> shares_of(const SequenceCache& sequence, uint32_t tokens) {
  const CacheLayout& layout = sequence.layout();
  const Plan& plan = layout.plan();
  const uint32_t fixed = std::min(tokens, plan.protected_rows());
  const KeptRows kept = kept_rows(sequence);
  std::vector<double> shares;
  for (uint32_t head = 0; head < layout.heads(); ++head) {
    const bool judged = layout.head(head).selectable && tokens > fixed;
    const auto rows = static_cast<double>(kept[head].size());
    shares.push_back(judged ? std::max(0.0, rows - fixed) / (tokens - fixed) : 1.0);
  }
  return shares;
}

}  // namespace

Result<HeadShares> measure_shares(Engine& engine, std::span<const std::vector<uint32_t>> samples,
                                  const std::function<void(size_t, size_t)>& progress) {
  HeadShares shares;
  for (const std::vector<uint32_t>& sample : samples) {
    const auto tokens = static_cast<uint32_t>(sample.size());
    SKVIS_TRY(SequenceCache sequence, engine.open_sequence(tokens, tokens));
    SKVIS_CHECK(engine.read(sequence, sample, kPromptChunk, 0, {}));
    shares.push_back(shares_of(sequence, tokens));
    if (progress) progress(shares.size(), samples.size());
  }
  return shares;
}

BudgetProfile profile_of(const HeadShares& shares) {
  const size_t heads = shares.front().size();
  const auto samples = static_cast<double>(shares.size());
  BudgetProfile profile{.mean = std::vector<double>(heads),
                        .deviation = std::vector<double>(heads)};
  for (size_t head = 0; head < heads; ++head) {
    double squares = 0;
    for (const auto& sample : shares) profile.mean[head] += sample[head] / samples;
    for (const auto& sample : shares) {
      squares += (sample[head] - profile.mean[head]) * (sample[head] - profile.mean[head]);
    }
    profile.deviation[head] = std::sqrt(squares / samples);
  }
  double sum = 0;
  for (const auto& sample : shares) {
    const double correlation = spearman(sample, profile.mean);
    sum += correlation;
    profile.correlation_worst = std::min(profile.correlation_worst, correlation);
  }
  profile.correlation_mean = sum / samples;
  return profile;
}

std::vector<double> BudgetProfile::budget(double alpha) const {
  std::vector<double> budget;
  for (size_t head = 0; head < mean.size(); ++head) {
    budget.push_back(std::clamp(mean[head] + alpha * deviation[head], 0.0, 1.0));
  }
  return budget;
}

double spearman(std::span<const double> a, std::span<const double> b) {
  const std::vector<double> x = ranks_of(a), y = ranks_of(b);
  const double middle = (static_cast<double>(a.size()) - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - middle) * (y[i] - middle);
    xx += (x[i] - middle) * (x[i] - middle);
    yy += (y[i] - middle) * (y[i] - middle);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 1.0;
}

BudgetPrice price_of(std::span<const double> budget, const HeadShares& shares) {
  double kept = 0, cut = 0;
  for (const auto& sample : shares) {
    kept += sum_of(sample);
    for (size_t head = 0; head < sample.size(); ++head) {
      cut += std::max(0.0, sample[head] - budget[head]);
    }
  }
  if (kept == 0) return {};
  return {.reserve = sum_of(budget) * static_cast<double>(shares.size()) / kept, .cut = cut / kept};
}

Json calibrated_plan(const Plan& measured, std::span<const double> budget) {
  const CacheShape& shape = measured.shape;
  Json keep = plan_to_json(measured)["keep"];
  for (const Parameter& parameter : measured.keep.budget->parameters) {
    keep.erase(std::string(parameter.name));
  }
  for (const char* amount : {"ratio", "tokens"}) keep.erase(amount);
  keep["budget"] = "calibrated";
  keep["table"] = Json::array();
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    Json row = Json::array();
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      row.push_back(std::round(budget[shape.index({layer, head})] * 1e4) / 1e4);
    }
    keep["table"].push_back(std::move(row));
  }
  return {{"sinks", measured.sinks},
          {"recent", measured.recent},
          {"settle", SettleRule{}.step},
          {"keep", std::move(keep)}};
}

}  // namespace skvis
