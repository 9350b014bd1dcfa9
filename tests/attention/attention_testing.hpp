// SPDX-License-Identifier: Apache-2.0
// Rows, steps and attention in float64 for tests.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "attention/attention_step.hpp"
#include "attention/statistics.hpp"
#include "cache/cache_testing.hpp"

namespace skvis {

enum class RowsLike { normal, heavy_tailed, outlier_channels, zeros, constants, denormals };

// Rows that depend on seed and position alone.
inline void make_row(RowsLike like, uint64_t seed, uint64_t position, size_t count, float* row) {
  uint64_t state = mix(seed, position);
  for (size_t i = 0; i < count; ++i) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t bits = (state ^ state >> 30) * 0xbf58476d1ce4e5b9u;
    bits ^= bits >> 29;
    // A sum of four uniform numbers of variance 1 / 12 each: close enough to a normal one.
    const double sum = static_cast<double>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                           (bits >> 32 & 0xffff) + (bits >> 48)) /
                           65536.0 -
                       2.0;
    const auto normal = static_cast<float>(sum * 1.7320508);
    const auto channel = static_cast<float>(i);
    switch (like) {
      case RowsLike::normal:
        row[i] = normal;
        break;
      case RowsLike::heavy_tailed:
        row[i] = normal * 0.3f / (static_cast<float>(bits >> 13 & 0xff) / 255.0f + 0.03f);
        break;
      case RowsLike::outlier_channels:
        row[i] = i % 19 == 3 ? 8.0f + normal : normal * 0.5f;
        break;
      case RowsLike::zeros:
        row[i] = 0;
        break;
      case RowsLike::constants:
        row[i] = 0.75f;
        break;
      case RowsLike::denormals:
        row[i] = (normal > 0 ? 1e-40f : -3e-41f) * (1.0f + channel);
        break;
    }
  }
}

// Inputs of one layer for consecutive positions, by position alone.
struct StepInput {
  std::vector<float> q, k, v;

  void add(const CacheShape& shape, uint64_t seed, uint32_t layer, uint32_t begin, uint32_t rows,
           RowsLike like = RowsLike::normal) {
    const auto append = [&](std::vector<float>& to, uint32_t heads, uint64_t what) {
      for (uint32_t row = begin; row < begin + rows; ++row) {
        for (uint32_t head = 0; head < heads; ++head) {
          to.resize(to.size() + shape.head_dim);
          make_row(like, mix(seed, layer * 64 + what, head), row, shape.head_dim,
                   to.data() + to.size() - shape.head_dim);
        }
      }
    };
    append(q, shape.query_heads, 0);
    append(k, shape.kv_heads, 1);
    append(v, shape.kv_heads, 2);
  }
  LayerInput view(uint32_t layer, const RotaryTable& rotary) const {
    return {.layer = layer, .q = q.data(), .k = k.data(), .v = v.data(), .rotary = &rotary};
  }
};

// A query as the reference uses it: rotated in float64 with the angles that attention uses.
inline std::vector<double> rotated_query(const CacheShape& shape, const RotaryTable& rotary,
                                         uint32_t position, const float* q) {
  std::vector<float> angles(shape.head_dim);
  rotary_angles(rotary, position, angles.data());
  const size_t half = shape.head_dim / 2;
  std::vector<double> out(shape.head_dim);
  for (size_t i = 0; i < half; ++i) {
    const double a = q[i];
    const double b = q[half + i];
    out[i] = a * angles[i] - b * angles[half + i];
    out[half + i] = b * angles[i] + a * angles[half + i];
  }
  return out;
}

// The rows of one head as attention should see them, decoded.
struct DecodedRows {
  std::vector<LiveRow> rows;
  std::vector<float> keys;
  std::vector<float> values;

  DecodedRows(const SequenceCache& sequence, uint32_t head)
      : rows(live_rows(sequence, head, sequence.length())),
        keys(rows.size() * sequence.layout().shape().head_dim),
        values(keys.size()) {
    decode_rows(sequence, head, Role::key, rows, keys.data());
    decode_rows(sequence, head, Role::value, rows, values.data());
  }
};

struct Reference {
  std::vector<double> out;            // [head_dim]
  std::vector<double> probabilities;  // [rows], 0 where invisible
  double log_sum_exp = -INFINITY;
};

// Plain softmax attention in float64 over rows at positions [begin, end).
inline Reference reference_attention(const CacheShape& shape, const DecodedRows& decoded,
                                     const std::vector<double>& q, uint32_t begin, uint32_t end) {
  const size_t head_dim = shape.head_dim;
  Reference reference{std::vector<double>(head_dim), std::vector<double>(decoded.rows.size())};
  std::vector<double> logits(decoded.rows.size(), -INFINITY);
  double maximum = -INFINITY;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (decoded.rows[i].position < begin || decoded.rows[i].position >= end) continue;
    double dot = 0;
    for (size_t c = 0; c < head_dim; ++c) dot += q[c] * decoded.keys[i * head_dim + c];
    logits[i] = dot * shape.attention_scale;
    maximum = std::max(maximum, logits[i]);
  }
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == -INFINITY) continue;
    reference.probabilities[i] = std::exp(logits[i] - maximum);
    sum += reference.probabilities[i];
  }
  if (sum == 0) return reference;
  reference.log_sum_exp = maximum + std::log(sum);
  for (size_t i = 0; i < logits.size(); ++i) {
    reference.probabilities[i] /= sum;
    for (size_t c = 0; c < head_dim; ++c) {
      reference.out[c] += reference.probabilities[i] * decoded.values[i * head_dim + c];
    }
  }
  return reference;
}

// Distance of two vectors relative to the second; absolute where that one is next to nothing.
template <typename A, typename B>
double distance(const A* a, const B* b, size_t count) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < count; ++i) {
    const double delta = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += delta * delta;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  if (std::isnan(difference)) return INFINITY;
  return norm > 1e-60 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

inline uint64_t hash_bytes(const void* data, size_t count, uint64_t hash) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < count; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

// Everything that a sequence holds, by content: tables, sealed pages and exact rows.
inline uint64_t hash_sequence(const SequenceCache& sequence) {
  const CacheLayout& layout = sequence.layout();
  const Pool& pool = sequence.pool();
  uint64_t hash = 0xcbf29ce484222325u;
  const auto number = [&](uint64_t value) { hash = hash_bytes(&value, sizeof value, hash); };
  number(sequence.length());
  number(sequence.open_begin());
  for (uint32_t head = 0; head < layout.heads(); ++head) {
    const size_t bytes = pool.page_bytes(layout.head(head).sealed);
    for (const PageEntry& entry : sequence.head(head).sealed.pages) {
      number(entry.live);
      number(entry.filled);
      for (uint32_t slot = 0; slot < entry.filled; ++slot) number(entry.position(slot));
      hash = hash_bytes(pool.data(entry.page), bytes, hash);
    }
    number(sequence.head(head).sealed.pages.size());
    for (const LiveRow& row : live_rows(sequence, head, sequence.length())) {
      if (row.page != LiveRow::kExact) continue;
      hash = hash_bytes(sequence.exact_key(head, row.position), layout.exact_row_bytes(), hash);
      hash = hash_bytes(sequence.exact_value(head, row.position), layout.exact_row_bytes(), hash);
    }
  }
  return hash;
}

// A pool, a plan and sequences of synthetic tokens that run through steps as an engine's do.
class Bench {
 public:
  Bench(const CacheShape& shape, const std::string& plan, size_t threads = 1,
        size_t pool_bytes = size_t{256} << 20)
      : pool(std::move(Pool::create(pool_bytes)).value()),
        layout(std::move(CacheLayout::create(make_plan(plan, shape), pool)).value()),
        rotary(shape.rotary),
        threads(threads) {}

  SequenceCache open() { return SequenceCache(layout, pool, kUnreserved); }
  const CacheShape& shape() const { return layout.shape(); }

  // Rows that are written directly, without attention, and settled where the plan says so.
  void fill(SequenceCache& sequence, uint32_t rows, uint64_t seed, RowsLike like) {
    const uint32_t begin = sequence.length();
    ASSERT_TRUE(sequence.append(rows).ok());
    write_rows(sequence, begin, begin + rows,
               [&](uint32_t head, Role role, uint32_t position, float* row) {
                 const uint64_t what = role == Role::key ? 1 : 2;
                 make_row(like, mix(seed, what, head), position, shape().head_dim, row);
               });
    sequence.commit(rows);
  }

  Pool pool;
  CacheLayout layout;
  RotaryTable rotary;
  ThreadPool threads;
};

}  // namespace skvis
