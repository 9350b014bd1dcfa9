// SPDX-License-Identifier: Apache-2.0
#include "eval/query_filters.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "cache/rows.hpp"
#include "eval/calibrate.hpp"
#include "kv/rotary.hpp"

namespace skvis {
namespace {

constexpr uint32_t kSinks = 4;  // get attention whatever they hold, and are never dropped

// Sums of outer products of queries after RoPE, by KV head.
class QueryMoments {
 public:
  explicit QueryMoments(const CacheShape& shape)
      : shape_(shape),
        sums_(shape.heads(), Eigen::MatrixXd::Zero(shape.head_dim, shape.head_dim)) {}

  void begin_text() { position_ = 0; }
  void add(const LayerInput& input, size_t rows) {
    const auto width = static_cast<Eigen::Index>(shape_.head_dim);
    const auto group = static_cast<Eigen::Index>(shape_.group_size());
    std::vector<float> angles(shape_.head_dim);
    std::vector<Eigen::MatrixXf> queries(shape_.kv_heads,
                                         Eigen::MatrixXf(width, group * static_cast<long>(rows)));
    for (size_t row = 0; row < rows; ++row) {
      rotary_angles(*input.rotary, position_ + static_cast<uint32_t>(row), angles.data());
      for (uint32_t head = 0; head < shape_.query_heads; ++head) {
        const float* q = input.q + (row * shape_.query_heads + head) * shape_.head_dim;
        const auto column = static_cast<Eigen::Index>(row) * group + head % group;
        rotate_row(q, angles.data(), shape_.head_dim / 2,
                   queries[head / static_cast<uint32_t>(group)].col(column).data());
      }
    }
    for (uint32_t head = 0; head < shape_.kv_heads; ++head) {
      const Eigen::MatrixXf product = queries[head] * queries[head].transpose();
      sums_[shape_.index({input.layer, head})] += product.cast<double>();
    }
    if (input.layer + 1 == shape_.layers) position_ += static_cast<uint32_t>(rows);
  }

  const Eigen::MatrixXd& sum(uint32_t head) const { return sums_[head]; }

 private:
  const CacheShape& shape_;
  std::vector<Eigen::MatrixXd> sums_;
  uint32_t position_ = 0;
};

// Keys of a text's rows and the attention that each received per query.
struct Received {
  std::vector<float> keys;  // [rows, head_dim]
  std::vector<double> attention;
};

Received received_by(SequenceCache& sequence, uint32_t head) {
  const size_t width = sequence.layout().shape().head_dim;
  std::vector<LiveRow> rows = live_rows(sequence, head, sequence.length());
  rows.erase(std::remove_if(rows.begin(), rows.end(),
                            [](const LiveRow& row) { return row.position < kSinks; }),
             rows.end());
  Received received{.keys = std::vector<float>(rows.size() * width), .attention = {}};
  decode_rows(sequence, head, Role::key, rows, received.keys.data());
  for (const LiveRow& row : rows) {
    const double queries = sequence.length() - row.position;
    received.attention.push_back(*row_state(sequence, head, row) / queries);
  }
  return received;
}

double correlation(const Received& received, const Eigen::VectorXd& direction) {
  const auto width = static_cast<size_t>(direction.size());
  std::vector<double> scores;
  for (size_t j = 0; j < received.attention.size(); ++j) {
    double sum = 0;
    for (size_t c = 0; c < width; ++c) {
      sum += received.keys[j * width + c] * direction[static_cast<Eigen::Index>(c)];
    }
    scores.push_back(sum);
  }
  return spearman(scores, received.attention);
}

}  // namespace

Result<QueryFilters> query_filters(Engine& engine, std::span<const std::vector<uint32_t>> texts,
                                   const std::function<void(size_t, size_t)>& progress) {
  const CacheShape& shape = engine.plan().shape;
  QueryMoments moments(shape);
  engine.watch_layers([&](const LayerInput& input, size_t rows) { moments.add(input, rows); });
  struct Unwatch {
    Engine& engine;
    ~Unwatch() { engine.watch_layers({}); }
  } unwatch{engine};
  std::vector<std::vector<Received>> received(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto count = static_cast<uint32_t>(texts[i].size());
    SKVIS_TRY(SequenceCache sequence, engine.open_sequence(count, count));
    moments.begin_text();
    SKVIS_CHECK(engine.read(sequence, texts[i], kPromptChunk, 0, {}));
    for (uint32_t head = 0; head < shape.heads(); ++head) {
      const bool judged = engine.layout().head(head).selectable;
      received[i].push_back(judged ? received_by(sequence, head) : Received{});
    }
    if (progress) progress(i + 1, texts.size());
  }
  QueryFilters filters;
  for (uint32_t head = 0; head < shape.heads(); ++head) {
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(moments.sum(head));
    Eigen::VectorXd direction = solver.eigenvectors().col(shape.head_dim - 1);
    double sum = 0;
    for (const auto& text : received) sum += correlation(text[head], direction);
    if (sum < 0) direction = -direction;
    for (const double value : direction) filters.directions.push_back(static_cast<float>(value));
    filters.correlations.push_back(std::fabs(sum) / static_cast<double>(texts.size()));
    filters.energy.push_back(solver.eigenvalues()[shape.head_dim - 1] / solver.eigenvalues().sum());
  }
  return filters;
}

}  // namespace skvis
