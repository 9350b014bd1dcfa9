// SPDX-License-Identifier: Apache-2.0
// Scores of heads that are measured once per model, for the budgets `classes` and `entropy`: how
// far back a head looks (DuoAttention), and how many directions its queries use (UNComp).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attention/attention_step.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "engine/loaded_model.hpp"
#include "eval/calibrate.hpp"
#include "plan/plan.hpp"

namespace skvis {

// Reads samples through the full cache and hands out every layer's queries and keys.
class QueryReader {
 public:
  // threads 0: as many as this process may use. Fails as load_model() does.
  static Result<std::unique_ptr<QueryReader>> open(const std::string& model,
                                                   const LoadOptions& options, size_t threads);

  const LoadedModel& model() const { return model_; }
  const CacheShape& shape() const { return layout_->shape(); }
  ThreadPool& threads() { return *threads_; }

  // `visit` is called for every layer of every slice of the sample, in order of positions. Fails
  // where the sample is longer than the model's context or the cache finds no memory.
  using Visit = std::function<void(uint32_t layer, const LayerRecord& record)>;
  Result<void> read(std::span<const uint32_t> sample, const Visit& visit);

 private:
  QueryReader(LoadedModel model, std::unique_ptr<ThreadPool> threads)
      : model_(std::move(model)), threads_(std::move(threads)) {}

  LoadedModel model_;
  std::unique_ptr<ThreadPool> threads_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<CacheLayout> layout_;
};

// DuoAttention's cheap score. A head's mean query and mean key, both before RoPE, stand for a text
// of `positions` equal tokens; the score is the mean over positions of the attention that the last
// query pays to them and those before: near 1 where a head looks far back, near 1 / positions where
// it looks at itself, about a half where it does not mind.
inline constexpr uint32_t kAreaPositions = 500;
double attention_area(std::span<const double> query, std::span<const double> key,
                      const RotaryTable& rotary, double scale, uint32_t positions = kAreaPositions);

// Mean queries [layers * query_heads, head_dim] and keys [layers * kv_heads, head_dim].
struct MeanRows {
  std::vector<double> q;
  std::vector<double> k;
  // [heads] attention_area() of the query heads of each KV head, averaged.
  std::vector<double> areas(const CacheShape& shape, const RotaryTable& rotary) const;
};
Result<MeanRows> mean_rows(QueryReader& reader, std::span<const uint32_t> sample);
// The same over all samples, and what each sample says by itself.
struct AreaProfile {
  std::vector<double> areas;  // [heads] of the means over all samples
  HeadShares by_sample;       // [samples][heads]
};
Result<AreaProfile> measure_areas(QueryReader& reader,
                                  std::span<const std::vector<uint32_t>> samples,
                                  const std::function<void(size_t, size_t)>& progress = {});

// UNComp's truncated matrix entropy of rows, from 0 to 1: of the directions in which they stray
// from their mean, lengths apart, the `largest` ones. 0 where all rows are equal.
inline constexpr uint32_t kEntropyDirections = 32;
double truncated_entropy(const RowsView& rows, uint32_t largest = kEntropyDirections);

// [samples][heads] entropies of each sample's queries before RoPE, averaged over the query heads of
// a KV head.
Result<HeadShares> measure_entropies(QueryReader& reader,
                                     std::span<const std::vector<uint32_t>> samples,
                                     const std::function<void(size_t, size_t)>& progress = {});
// [heads] The samples' votes: in each, the heads of a layer are cut into `groups` by their scores
// as the budget `entropy` does, the highest group votes 1, the lowest 0, and the mean is taken.
// With two groups: the share of samples that have the head in the upper half.
std::vector<double> group_votes(const HeadShares& scores, const CacheShape& shape, uint32_t groups);

// `base` with the budget `budget` on `scores` [heads], to four digits, instead of its own, and with
// these parameters of it; every row is stored in F16.
Json scored_plan(const Plan& base, std::string_view budget, std::span<const double> scores,
                 const Json& parameters);

}  // namespace skvis
