// SPDX-License-Identifier: Apache-2.0
#include "model/model.hpp"

#include <algorithm>
#include <cmath>
#include <new>

#include "base/aligned.hpp"
#include "kernels/table.hpp"
#include "model/cache_shape.hpp"
#include "model/rope.hpp"

namespace skvis {
namespace {

// Below so many values a pass over rows is faster on one thread than waking the pool.
constexpr size_t kSerialValues = size_t{1} << 14;

template <typename Body>
void for_rows(ThreadPool& threads, size_t rows, size_t values_per_row, const Body& body) {
  if (rows * values_per_row < kSerialValues) {
    for (size_t row = 0; row < rows; ++row) body(row);
  } else {
    threads.run(rows, [&](size_t row, size_t) { body(row); });
  }
}

// Extends the last run by a row, or begins another.
void add_row(std::vector<RowRun>& runs, RowKind kind) {
  if (runs.empty() || runs.back().kind != kind) {
    const size_t first = runs.empty() ? 0 : runs.back().first + runs.back().rows;
    runs.push_back({.first = first, .rows = 0, .kind = kind});
  }
  ++runs.back().rows;
}

}  // namespace

Model::Model(std::shared_ptr<const ModelFiles> files, const DensePath& path)
    : files_(std::move(files)), path_(path), rotary_(make_rotary_table(files_->config())) {}

Result<Model> Model::load(std::shared_ptr<const ModelFiles> files, const DensePath& path,
                          ThreadPool& threads, const LoadProgress& progress) {
  Model model(std::move(files), path);
  SKVIS_TRY(model.weights_, load_weights(*model.files_, path, threads, progress));
  return model;
}

std::string Model::description() const {
  return "dense " + path_.description(weights_.format());
}

CacheShape Model::cache_shape() const {
  return skvis::cache_shape(config());
}

Result<void> Model::prepare(std::span<const StepRow> rows, std::span<float> logits,
                            ThreadPool& threads) {
  buffers_.runs.clear();
  buffers_.logit_runs.clear();
  size_t wanted = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const StepRow& row = rows[i];
    if (row.token < 0 || static_cast<size_t>(row.token) >= config().vocab_size) {
      return fail("token {} of the step is {}, expected 0 to {}", i, row.token,
                  config().vocab_size - 1);
    }
    add_row(buffers_.runs, row.kind);
    if (row.wants_logits) add_row(buffers_.logit_runs, row.kind), ++wanted;
  }
  if (logits.size() != wanted * config().vocab_size) {
    return fail("the step's logits have room for {} values, expected {} rows of {}", logits.size(),
                wanted, config().vocab_size);
  }
  try {
    buffers_.ensure(config(), rows.size(), wanted, threads.threads());
  } catch (const std::bad_alloc&) {
    return fail("no memory for a step of {} rows: {} bytes", rows.size(),
                Activations::bytes(config(), rows.size(), wanted, threads.threads()));
  }
  return {};
}

void Model::embed(std::span<const StepRow> rows, ThreadPool& threads) {
  const size_t width = config().hidden_size;
  for_rows(threads, rows.size(), width, [&](size_t row) {
    const size_t token = static_cast<size_t>(rows[row].token);
    float* out = buffers_.hidden.data() + row * width;
    if (weights_.embedding) {
      dequantize_rows(*weights_.embedding, token, 1, out);
    } else {
      weights_.output.unpack_row(token, out);
    }
  });
}

// q/k norm: every head of every row is a row of its own.
void Model::head_norm(const std::vector<float>& weight, float* heads, size_t rows, size_t count,
                      ThreadPool& threads) {
  if (weight.empty()) return;
  const size_t width = weight.size();
  const float eps = static_cast<float>(config().rms_norm_eps);
  for_rows(threads, rows, count * width, [&](size_t row) {
    for (size_t head = 0; head < count; ++head) {
      float* x = heads + (row * count + head) * width;
      path_.kernels->rms_norm(x, weight.data(), width, eps, x);
    }
  });
}

void Model::attention_block(size_t layer, LayerCache& cache, size_t rows, ThreadPool& threads) {
  const LayerWeights& weights = weights_.layers[layer];
  Activations& b = buffers_;
  const size_t width = config().hidden_size;
  const float eps = static_cast<float>(config().rms_norm_eps);
  for_rows(threads, rows, width, [&](size_t row) {
    path_.kernels->rms_norm(b.hidden.data() + row * width, weights.attention_norm.data(), width,
                            eps, b.normed.data() + row * width);
  });
  const LinearOutput projections[] = {
      {&weights.q, b.q.data()}, {&weights.k, b.k.data()}, {&weights.v, b.v.data()}};
  multiply(path_, b.normed.data(), b.runs, projections, b.linear, threads);
  head_norm(weights.q_norm, b.q.data(), rows, config().heads, threads);
  head_norm(weights.k_norm, b.k.data(), rows, config().kv_heads, threads);
  cache.attend({.layer = static_cast<uint32_t>(layer),
                .q = b.q.data(),
                .k = b.k.data(),
                .v = b.v.data(),
                .hidden = b.normed.data(),
                .hidden_size = width,
                .rotary = &rotary_},
               b.attended.data());
  const LinearOutput output[] = {{&weights.o, b.projected.data()}};
  multiply(path_, b.attended.data(), b.runs, output, b.linear, threads);
  for_rows(threads, rows, width, [&](size_t row) {
    path_.kernels->add(b.projected.data() + row * width, width, b.hidden.data() + row * width);
  });
}

void Model::output_norms(HeadId id, const RowsView& values, std::span<float> out) const {
  const Linear& projection = weights_.layers[id.layer].o;
  const size_t head_dim = values.head_dim;
  const size_t group = config().heads / config().kv_heads;
  const size_t lanes = round_up(values.rows, kernels::kLaneMultiple);
  std::vector<float> columns(head_dim * lanes, 0.0f);
  for (size_t j = 0; j < values.rows; ++j) {
    for (size_t c = 0; c < head_dim; ++c) columns[c * lanes + j] = values.row(j)[c];
  }
  const auto& product =
      kernels::active_kernels().exact_product[static_cast<size_t>(kernels::ElementType::f32)];
  std::vector<float> weights(projection.inputs());
  std::vector<float> projected(group * lanes);
  std::vector<float> sums(lanes, 0.0f);
  for (size_t feature = 0; feature < projection.features(); ++feature) {
    projection.unpack_row(feature, weights.data());
    for (size_t first = 0; first < group; first += kernels::kMaxRows) {
      product({.matrix = columns.data(),
               .lanes = lanes,
               .depth = head_dim,
               .row_stride = lanes,
               .x = weights.data() + (id.head * group + first) * head_dim,
               .x_stride = head_dim,
               .rows = std::min(kernels::kMaxRows, group - first),
               .out = projected.data() + first * lanes,
               .out_stride = lanes,
               .add = false,
               .prefetch = nullptr});
    }
    for (size_t g = 0; g < group; ++g) {
      for (size_t j = 0; j < lanes; ++j) sums[j] += std::fabs(projected[g * lanes + j]);
    }
  }
  for (size_t j = 0; j < values.rows; ++j) out[j] = sums[j] / static_cast<float>(group);
}

void Model::mlp_block(size_t layer, size_t rows, ThreadPool& threads) {
  const LayerWeights& weights = weights_.layers[layer];
  Activations& b = buffers_;
  const size_t width = config().hidden_size;
  const size_t wide = config().intermediate_size;
  const float eps = static_cast<float>(config().rms_norm_eps);
  for_rows(threads, rows, width, [&](size_t row) {
    path_.kernels->rms_norm(b.hidden.data() + row * width, weights.mlp_norm.data(), width, eps,
                            b.normed.data() + row * width);
  });
  const LinearOutput widening[] = {{&weights.gate, b.gate.data()}, {&weights.up, b.up.data()}};
  multiply(path_, b.normed.data(), b.runs, widening, b.linear, threads);
  for_rows(threads, rows, wide, [&](size_t row) {
    float* gate = b.gate.data() + row * wide;
    path_.kernels->silu_multiply(gate, b.up.data() + row * wide, wide, gate);
  });
  const LinearOutput narrowing[] = {{&weights.down, b.projected.data()}};
  multiply(path_, b.gate.data(), b.runs, narrowing, b.linear, threads);
  for_rows(threads, rows, width, [&](size_t row) {
    path_.kernels->add(b.projected.data() + row * width, width, b.hidden.data() + row * width);
  });
}

void Model::write_logits(std::span<const StepRow> rows, std::span<float> logits,
                         ThreadPool& threads) {
  const size_t width = config().hidden_size;
  const float eps = static_cast<float>(config().rms_norm_eps);
  size_t wanted = 0;
  for (size_t row = 0; row < rows.size(); ++row) {
    if (!rows[row].wants_logits) continue;
    path_.kernels->rms_norm(buffers_.hidden.data() + row * width, weights_.final_norm.data(), width,
                            eps, buffers_.wanted.data() + wanted++ * width);
  }
  const LinearOutput output[] = {{&weights_.output, logits.data()}};
  multiply(path_, buffers_.wanted.data(), buffers_.logit_runs, output, buffers_.linear, threads);
}

Result<void> Model::forward(std::span<const StepRow> rows, LayerCache& cache,
                            std::span<float> logits, ThreadPool& threads, const Layers& part) {
  SKVIS_CHECK(prepare(rows, logits, threads));
  const size_t values = rows.size() * config().hidden_size;
  if (part.first == 0) {
    embed(rows, threads);
  } else {
    std::copy_n(part.in, values, buffers_.hidden.data());
  }
  const size_t last = std::min<size_t>(part.last, config().layers);
  for (size_t layer = part.first; layer < last; ++layer) {
    attention_block(layer, cache, rows.size(), threads);
    mlp_block(layer, rows.size(), threads);
  }
  if (last < config().layers) std::copy_n(buffers_.hidden.data(), values, part.out);
  write_logits(rows, logits, threads);
  return {};
}

}  // namespace skvis
