// SPDX-License-Identifier: Apache-2.0
// Linear layers: weights packed once at load, products handed to the pool tile by tile.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned.hpp"
#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "formats/tensor.hpp"
#include "model/dense_path.hpp"

namespace skvis {

// y = W x + b, W [features, inputs], packed. Holds no reference to the file it came from.
class Linear {
 public:
  // Writes the rows [first, first + rows) of W as floats to out[rows * inputs]; called from
  // workers.
  using Rows = std::function<void(size_t first, size_t rows, float* out)>;

  // inputs: a multiple of 8. bias: empty or [features]. A value that f16 cannot hold makes the
  // weights bf16, which takes the same memory. Refuses weights that are NaN or infinite.
  static Result<Linear> pack(const DensePath& path, WeightFormat format, size_t features,
                             size_t inputs, const Rows& rows, std::vector<float> bias,
                             ThreadPool& threads);
  // Packs a tensor [features, inputs] in the format that the path gives its dtype.
  static Result<Linear> load(const DensePath& path, const TensorView& weight,
                             std::vector<float> bias, ThreadPool& threads);

  size_t features() const { return features_; }
  size_t inputs() const { return inputs_; }
  WeightFormat format() const { return format_; }
  // Memory held, and what pack() will hold.
  size_t bytes() const { return packed_.bytes() + bias_.size() * sizeof(float); }
  static size_t packed_bytes(WeightFormat format, size_t features, size_t inputs);

  // One row of W as stored, out[inputs]: an embedding, where input and output share a table.
  void unpack_row(size_t feature, float* out) const;

  size_t tiles() const { return (features_ + kTileFeatures - 1) / kTileFeatures; }
  // The weights, bias and shape of a tile; the caller adds rows and outputs.
  LinearTile tile(size_t index) const;

 private:
  struct Packing;
  static Packing pack_strips(const DensePath& path, const Rows& rows, Linear& linear,
                             ThreadPool& threads);

  WeightFormat format_ = WeightFormat::f32;
  size_t features_ = 0;
  size_t inputs_ = 0;
  std::vector<float> bias_;
  AlignedBuffer<std::byte> packed_;
};

// Neighbouring rows of one kind.
struct RowRun {
  size_t first = 0;
  size_t rows = 0;
  RowKind kind = RowKind::prompt;
};

// Scratch of products; grows to what is needed and is kept.
struct LinearWorkspace {
  AlignedBuffer<BFloat16> rounded;               // [rows, inputs] activations in BF16
  std::vector<AlignedBuffer<BFloat16>> weights;  // [worker][kTileFeatures * inputs]

  // Room for products of this size; throws std::bad_alloc.
  void ensure(size_t rows, size_t max_inputs, size_t workers);
  // The most that ensure() takes.
  static size_t bytes(size_t rows, size_t max_inputs, size_t workers);
};

struct LinearOutput {
  const Linear* linear = nullptr;
  float* y = nullptr;  // [rows, features]
};

// Multiplies the same rows x [rows, inputs] with several layers in one round of the pool. `runs`
// covers the rows in order. Results depend neither on the number of rows or threads nor on what
// else is multiplied along.
void multiply(const DensePath& path, const float* x, std::span<const RowRun> runs,
              std::span<const LinearOutput> outputs, LinearWorkspace& workspace,
              ThreadPool& threads);

}  // namespace skvis
