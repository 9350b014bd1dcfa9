// SPDX-License-Identifier: Apache-2.0
#include "eval/calibrate_gate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>

#include "cache/rows.hpp"
#include "eval/calibrate.hpp"

namespace skvis {
namespace {

// Some rows of a layer's inputs as floats.
void load_inputs(const GateRows& rows, size_t layer, std::span<const uint32_t> which,
                 std::vector<float>& out) {
  out.resize(which.size() * rows.hidden);
  for (size_t i = 0; i < which.size(); ++i) {
    const BFloat16* from = rows.inputs[layer].data() + which[i] * rows.hidden;
    for (size_t c = 0; c < rows.hidden; ++c) out[i * rows.hidden + c] = to_float(from[c]);
  }
}

// One over the root mean square of each channel: channels differ by orders of magnitude, and equal
// ones are learnt equally fast. The weights take it up in the end.
std::vector<float> channel_scales(const GateRows& rows, size_t layer) {
  std::vector<double> squares(rows.hidden);
  for (size_t i = 0; i < rows.rows * rows.hidden; ++i) {
    const double value = to_float(rows.inputs[layer][i]);
    squares[i % rows.hidden] += value * value;
  }
  std::vector<float> scales;
  for (const double sum : squares) {
    const double mean = std::sqrt(sum / static_cast<double>(rows.rows));
    scales.push_back(mean > 0 ? static_cast<float>(1 / mean) : 0.0f);
  }
  return scales;
}

void scale_channels(std::span<float> matrix, std::span<const float> scales) {
  for (size_t i = 0; i < matrix.size(); ++i) matrix[i] *= scales[i % scales.size()];
}

// The fitting of one layer, epoch by epoch.
class Fitting {
 public:
  Fitting(const GateRows& rows, size_t layer, const GateFit& fit)
      : rows_(rows),
        layer_(layer),
        fit_(fit),
        gate_({.heads = rows.heads, .group = rows.group, .hidden = rows.hidden},
              fit.seed + static_cast<uint32_t>(layer)),
        adam_(gate_.shape().parameters()),
        scales_(channel_scales(rows, layer)),
        order_(rows.rows),
        random_(fit.seed + static_cast<uint32_t>(layer)) {
    std::iota(order_.begin(), order_.end(), 0u);
  }

  void run_epoch() {
    std::shuffle(order_.begin(), order_.end(), random_);
    const size_t batches = (rows_.rows + fit_.batch - 1) / fit_.batch;
    std::vector<float> inputs, targets, gradient(gate_.shape().parameters());
    for (size_t first = 0; first < rows_.rows; first += fit_.batch) {
      const auto which =
          std::span(order_).subspan(first, std::min<size_t>(fit_.batch, rows_.rows - first));
      load_inputs(rows_, layer_, which, inputs);
      scale_channels(inputs, scales_);
      targets.clear();
      for (const uint32_t row : which) {
        const float* of_row = rows_.targets[layer_].data() + row * rows_.heads;
        targets.insert(targets.end(), of_row, of_row + rows_.heads);
      }
      gate_.loss(inputs, targets, gradient);
      const double part = steps_++ / static_cast<double>(batches * fit_.epochs);
      adam_.step(gate_.parameters(), gradient,
                 fit_.rate * (1 + std::cos(std::numbers::pi * part)) / 2);
    }
  }

  GateLayer finished() {
    scale_channels(gate_.parameters().first(gate_.shape().query_bias()), scales_);
    return std::move(gate_);
  }

 private:
  const GateRows& rows_;
  size_t layer_;
  GateFit fit_;
  GateLayer gate_;
  Adam adam_;
  std::vector<float> scales_;
  std::vector<uint32_t> order_;
  std::mt19937 random_;
  double steps_ = 0;
};

double correlation(std::span<const float> a, std::span<const float> b, size_t first, size_t step) {
  std::vector<double> x, y;
  for (size_t i = first; i < a.size(); i += step) {
    x.push_back(a[i]);
    y.push_back(b[i]);
  }
  return spearman(x, y);
}

// KVzip's scores of the rows that a gate is fitted to, by layer [rows, heads].
std::vector<std::vector<float>> scores_of(SequenceCache& sequence) {
  const CacheShape& shape = sequence.layout().shape();
  const uint32_t own = sequence.layout().own_state();
  const size_t rows = sequence.length() - GateRows::kSkip;
  std::vector<std::vector<float>> scores(shape.layers,
                                         std::vector<float>(rows * shape.kv_heads, 0.0f));
  for (uint32_t index = 0; index < shape.heads(); ++index) {
    const HeadId id = shape.head(index);
    if (!sequence.layout().head(index).selectable) continue;
    for (const LiveRow& row : live_rows(sequence, index, sequence.length())) {
      if (row.position < GateRows::kSkip) continue;
      scores[id.layer][(row.position - GateRows::kSkip) * shape.kv_heads + id.head] =
          row_state(sequence, index, row)[own];
    }
  }
  return scores;
}

}  // namespace

void replace_by_ranks(std::span<float> values) {
  std::vector<uint32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return values[a] < values[b]; });
  std::vector<float> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double rank = static_cast<double>(begin + end) / 2 / static_cast<double>(order.size());
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = static_cast<float>(rank);
    begin = end;
  }
  std::copy(ranks.begin(), ranks.end(), values.begin());
}

Result<GateRows> gate_rows(Engine& engine, std::span<const std::vector<uint32_t>> texts,
                           const CalibrationProgress& progress) {
  const CacheShape& shape = engine.plan().shape;
  GateRows rows{.layers = shape.layers,
                .heads = shape.kv_heads,
                .group = shape.group_size(),
                .hidden = shape.hidden_size,
                .inputs = {},
                .targets = {}};
  rows.inputs.resize(shape.layers);
  rows.targets.resize(shape.layers);
  uint32_t position = 0;  // of the first row of a step
  engine.watch_layers([&](const LayerInput& input, size_t count) {
    for (size_t row = 0; row < count; ++row) {
      if (position + row < GateRows::kSkip) continue;
      const float* from = input.hidden + row * input.hidden_size;
      std::transform(from, from + input.hidden_size, std::back_inserter(rows.inputs[input.layer]),
                     [](float x) { return to_bfloat16(x); });
    }
    if (input.layer + 1 == shape.layers) position += static_cast<uint32_t>(count);
  });
  struct Unwatch {
    Engine& engine;
    ~Unwatch() { engine.watch_layers({}); }
  } unwatch{engine};
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto count = static_cast<uint32_t>(texts[i].size());
    SKVIS_TRY(SequenceCache sequence, engine.open_sequence(count, count));
    position = 0;
    SKVIS_CHECK(engine.read(sequence, texts[i], kPromptChunk, 0, {}));
    auto scores = scores_of(sequence);
    std::vector<float> all;
    for (const auto& layer : scores) all.insert(all.end(), layer.begin(), layer.end());
    replace_by_ranks(all);
    for (size_t layer = 0; layer < scores.size(); ++layer) {
      const auto begin = all.begin() + static_cast<ptrdiff_t>(layer * scores[layer].size());
      rows.targets[layer].insert(rows.targets[layer].end(), begin,
                                 begin + static_cast<ptrdiff_t>(scores[layer].size()));
    }
    rows.rows += count - GateRows::kSkip;
    if (progress) progress(i + 1, texts.size());
  }
  return rows;
}

std::vector<GateLayer> fit_gates(const GateRows& rows, const GateFit& fit, ThreadPool& threads,
                                 const CalibrationProgress& progress) {
  std::vector<std::unique_ptr<Fitting>> layers(rows.layers);
  threads.run(rows.layers, [&](size_t layer, size_t) {
    layers[layer] = std::make_unique<Fitting>(rows, layer, fit);
  });
  for (uint32_t epoch = 0; epoch < fit.epochs; ++epoch) {
    threads.run(rows.layers, [&](size_t layer, size_t) { layers[layer]->run_epoch(); });
    if (progress) progress(epoch + 1, fit.epochs);
  }
  std::vector<GateLayer> gates;
  for (const auto& layer : layers) gates.push_back(layer->finished());
  return gates;
}

GateQuality judge_gates(std::span<const GateLayer> gates, const GateRows& rows,
                        ThreadPool& threads) {
  constexpr size_t kRows = 256;
  GateQuality quality{.layers = std::vector<double>(rows.layers),
                      .heads = std::vector<double>(rows.layers * rows.heads)};
  std::vector<std::vector<float>> scores(rows.layers);
  threads.run(rows.layers, [&](size_t layer, size_t) {
    scores[layer].resize(rows.rows * rows.heads);
    std::vector<float> inputs;
    for (size_t first = 0; first < rows.rows; first += kRows) {
      std::vector<uint32_t> which(std::min(kRows, rows.rows - first));
      std::iota(which.begin(), which.end(), static_cast<uint32_t>(first));
      load_inputs(rows, layer, which, inputs);
      gates[layer].score(
          inputs, std::span(scores[layer]).subspan(first * rows.heads, which.size() * rows.heads));
    }
    quality.layers[layer] = correlation(scores[layer], rows.targets[layer], 0, 1);
    for (size_t head = 0; head < rows.heads; ++head) {
      quality.heads[layer * rows.heads + head] =
          correlation(scores[layer], rows.targets[layer], head, rows.heads);
    }
  });
  std::vector<double> all, wanted;
  for (size_t layer = 0; layer < rows.layers; ++layer) {
    all.insert(all.end(), scores[layer].begin(), scores[layer].end());
    wanted.insert(wanted.end(), rows.targets[layer].begin(), rows.targets[layer].end());
  }
  quality.all = spearman(all, wanted);
  return quality;
}

}  // namespace skvis
