// SPDX-License-Identifier: Apache-2.0
// What selectors ask of attention beyond its result: probabilities, summed over query rows or as
// they are. Computed in a second pass over keys only, a few query rows at a time; a full attention
// matrix is never stored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/layer_cache.hpp"
#include "cache/rows.hpp"
#include "cache/settle.hpp"
#include "kernels/table.hpp"

namespace skvis {

// Which rows of a step are asked for their probabilities.
enum class QueryRows : uint8_t { none, last, sampled, all };
// Is row `row` of `rows` among them? `count`: how many last or sampled ones. Sampled rows lie
// evenly, and end with the last.
bool in_columns(QueryRows which, uint32_t count, uint32_t row, uint32_t rows);

// The keys of one head, decoded once, as probabilities need them.
class HeadKeys {
 public:
  // Live rows at positions [from, length).
  HeadKeys(const SequenceCache& sequence, uint32_t head, uint32_t length, uint32_t from = 0);
  std::span<const LiveRow> rows() const { return rows_; }

  // Queries of some positions: q [positions * group_size, head_dim], rotated and scaled. Position i
  // sees rows at positions [sees[i].begin, sees[i].end). log_sum_exp [positions * group_size], if
  // not null, is what attention found over all rows of the head, so that these keys may be some of
  // them.
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;
  };
  struct Queries {
    const float* q = nullptr;
    std::span<const Range> sees;
    const float* log_sum_exp = nullptr;
  };
  // Floats from one row of probabilities to the next: rows().size() rounded up.
  size_t stride() const { return lanes_; }
  // Softmax over the rows that a query sees, 0 elsewhere: out [positions * group_size, stride()].
  void probabilities(const kernels::Kernels& kernels, const Queries& queries, float* out) const;

  // sums [group_size or 1, rows().size()] += such probabilities of some positions, reduced over the
  // group.
  void add_columns(const kernels::Kernels& kernels, const float* probabilities, size_t positions,
                   GroupReduce reduce, std::span<float> sums) const;

  // Positions that are worth asking for together.
  static constexpr size_t kTogether = kernels::kMaxRows;

 private:
  size_t group_ = 0;
  size_t head_dim_ = 0;
  size_t lanes_ = 0;  // rows rounded up
  std::vector<LiveRow> rows_;
  std::vector<float> columns_;  // [head_dim, lanes] keys, transposed
};

// The statistics that settle asks for, from the queries that the sequence observed.
class StoredAttention : public AttentionStatistics {
 public:
  void column_sums(const SequenceCache& sequence, uint32_t head, uint32_t query_rows,
                   GroupReduce reduce, uint32_t from, std::span<float> out) const override;
};

}  // namespace skvis
