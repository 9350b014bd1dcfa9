// SPDX-License-Identifier: Apache-2.0
#include "model/linear.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

namespace skvis {
namespace {

constexpr float kLargestHalf = 65504.0f;
constexpr size_t kNowhere = std::numeric_limits<size_t>::max();
// Rows of one work item. Large enough to read a tile's weights once per many rows, small enough to
// spread a long prompt over many cores even where a layer has few features.
constexpr size_t kItemRows = 192;
// Below so many values one thread converts faster than the pool wakes.
constexpr size_t kSerialValues = size_t{1} << 15;

void keep_least(std::atomic<size_t>& least, size_t value) {
  size_t seen = least.load(std::memory_order_relaxed);
  while (value < seen && !least.compare_exchange_weak(seen, value)) {
  }
}

struct Job {
  const DensePath& path;
  const float* x;
  const BFloat16* rounded;
  std::span<const RowRun> runs;
  LinearWorkspace& workspace;
};

// One tile of one layer, over the rows [first, last).
void multiply_tile(const Job& job, const LinearOutput& output, size_t index, size_t first,
                   size_t last, size_t worker) {
  const size_t inputs = output.linear->inputs();
  LinearTile tile = output.linear->tile(index);
  tile.x_stride = inputs;
  tile.y_stride = output.linear->features();
  for (const RowRun& run : job.runs) {
    const size_t begin = std::max(first, run.first);
    const size_t end = std::min(last, run.first + run.rows);
    if (begin >= end) continue;
    tile.rows = end - begin;
    tile.y = output.y + begin * tile.y_stride + index * kTileFeatures;
    if (job.path.bf16_activations(run.kind)) {
      tile.x_bf16 = job.rounded + begin * inputs;
      job.path.kernels->linear_bf16(tile, job.workspace.weights[worker].data());
    } else {
      tile.x = job.x + begin * inputs;
      job.path.kernels->linear(tile);
    }
  }
}

// The activations of prompt rows in BF16, where the path wants them so.
void round_activations(const Job& job, size_t inputs, size_t rows, ThreadPool& threads) {
  bool needed = false;
  for (const RowRun& run : job.runs) needed |= job.path.bf16_activations(run.kind);
  if (!needed) return;
  LinearWorkspace& workspace = job.workspace;
  workspace.ensure(rows, inputs, threads.threads());
  for (const RowRun& run : job.runs) {
    if (!job.path.bf16_activations(run.kind)) continue;
    const auto round_row = [&](size_t row, size_t) {
      const size_t offset = (run.first + row) * inputs;
      job.path.kernels->to_bfloat16_row(job.x + offset, inputs, workspace.rounded.data() + offset);
    };
    if (run.rows * inputs > kSerialValues) {
      threads.run(run.rows, round_row);
    } else {
      for (size_t row = 0; row < run.rows; ++row) round_row(row, 0);
    }
  }
}

}  // namespace

struct Linear::Packing {
  size_t first_not_finite = kNowhere;  // index into W
  bool exceeds_half = false;
};

Linear::Packing Linear::pack_strips(const DensePath& path, const Rows& rows, Linear& linear,
                                    ThreadPool& threads) {
  const size_t inputs = linear.inputs_;
  const size_t strips = (linear.features_ + kStripFeatures - 1) / kStripFeatures;
  const size_t bytes = strip_bytes(linear.format_, inputs);
  std::vector<AlignedBuffer<float>> buffers;  // [worker]: rows, then the kernel's scratch
  for (size_t i = 0; i < threads.threads(); ++i) buffers.emplace_back(2 * kStripFeatures * inputs);
  std::atomic<size_t> first_not_finite{kNowhere};
  std::atomic<bool> exceeds_half{false};
  threads.run(strips, [&](size_t strip, size_t worker) {
    float* values = buffers[worker].data();
    const size_t first = strip * kStripFeatures;
    const size_t live = std::min(kStripFeatures, linear.features_ - first);
    rows(first, live, values);
    for (size_t i = 0; i < live * inputs; ++i) {
      if (std::fabs(values[i]) <= kLargestHalf) continue;  // false for a NaN
      exceeds_half.store(true, std::memory_order_relaxed);
      if (!std::isfinite(values[i])) keep_least(first_not_finite, first * inputs + i);
    }
    pack_strip(*path.kernels, linear.format_, values, live, inputs,
               values + kStripFeatures * inputs, linear.packed_.data() + strip * bytes);
  });
  return {first_not_finite.load(), exceeds_half.load()};
}

Result<Linear> Linear::pack(const DensePath& path, WeightFormat format, size_t features,
                            size_t inputs, const Rows& rows, std::vector<float> bias,
                            ThreadPool& threads) {
  if (features == 0 || inputs == 0 || inputs % 8 != 0) {
    return fail("a weight of shape [{}, {}]: the second must be a multiple of 8, none may be 0",
                features, inputs);
  }
  if (!bias.empty() && bias.size() != features) {
    return fail("a bias has {} values, expected {}", bias.size(), features);
  }
  Linear linear;
  linear.format_ = format;
  linear.features_ = features;
  linear.inputs_ = inputs;
  linear.bias_ = std::move(bias);
  const size_t bytes = packed_bytes(format, features, inputs);
  try {
    linear.packed_ = AlignedBuffer<std::byte>(bytes);
  } catch (const std::bad_alloc&) {
    return fail("no memory for a weight of shape [{}, {}]: {} bytes", features, inputs, bytes);
  }
  Packing packing = pack_strips(path, rows, linear, threads);
  if (packing.first_not_finite != kNowhere) {
    return fail("element [{}, {}] is NaN or infinite", packing.first_not_finite / inputs,
                packing.first_not_finite % inputs);
  }
  if (packing.exceeds_half && format == WeightFormat::f16) {
    linear.format_ = WeightFormat::bf16;
    pack_strips(path, rows, linear, threads);
  }
  return linear;
}

Result<Linear> Linear::load(const DensePath& path, const TensorView& weight,
                            std::vector<float> bias, ThreadPool& threads) {
  Result<Linear> linear = pack(
      path, path.format_for(weight.dtype), weight.rows(), weight.columns(),
      [&](size_t first, size_t rows, float* out) { dequantize_rows(weight, first, rows, out); },
      std::move(bias), threads);
  if (!linear) return fail("tensor {}: {}", weight.name, linear.error().message);
  return linear;
}

size_t Linear::packed_bytes(WeightFormat format, size_t features, size_t inputs) {
  return (features + kStripFeatures - 1) / kStripFeatures * strip_bytes(format, inputs);
}

void Linear::unpack_row(size_t feature, float* out) const {
  const size_t strip = feature / kStripFeatures;
  unpack_feature(format_, packed_.data() + strip * strip_bytes(format_, inputs_),
                 feature % kStripFeatures, inputs_, out);
}

LinearTile Linear::tile(size_t index) const {
  const size_t feature = index * kTileFeatures;
  return {.format = format_,
          .weights = packed_.data() + index * kTileStrips * strip_bytes(format_, inputs_),
          .inputs = inputs_,
          .features = std::min(kTileFeatures, features_ - feature),
          .bias = bias_.empty() ? nullptr : bias_.data() + feature};
}

void LinearWorkspace::ensure(size_t rows, size_t max_inputs, size_t workers) {
  rounded.ensure(rows * max_inputs);
  if (weights.size() < workers) weights.resize(workers);
  for (auto& scratch : weights) scratch.ensure(kTileFeatures * max_inputs);
}

size_t LinearWorkspace::bytes(size_t rows, size_t max_inputs, size_t workers) {
  return (rows + kTileFeatures * workers) * max_inputs * sizeof(BFloat16);
}

void multiply(const DensePath& path, const float* x, std::span<const RowRun> runs,
              std::span<const LinearOutput> outputs, LinearWorkspace& workspace,
              ThreadPool& threads) {
  if (runs.empty() || outputs.empty()) return;
  const size_t rows = runs.back().first + runs.back().rows;
  const Job partial{path, x, nullptr, runs, workspace};
  round_activations(partial, outputs.front().linear->inputs(), rows, threads);
  const Job job{path, x, workspace.rounded.data(), runs, workspace};

  const size_t blocks = (rows + kItemRows - 1) / kItemRows;
  size_t tiles = 0;
  for (const LinearOutput& output : outputs) tiles += output.linear->tiles();
  threads.run(tiles * blocks, [&](size_t item, size_t worker) {
    size_t tile = item / blocks;
    const size_t block = item % blocks;
    const LinearOutput* output = outputs.data();
    while (tile >= output->linear->tiles()) tile -= output++->linear->tiles();
    multiply_tile(job, *output, tile, rows * block / blocks, rows * (block + 1) / blocks, worker);
  });
}

}  // namespace skvis
