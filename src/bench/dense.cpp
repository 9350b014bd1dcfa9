// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "bench/bandwidth.hpp"
#include "bench/bench.hpp"
#include "kernels/table.hpp"
#include "model/linear.hpp"

namespace skvis {
namespace {

struct Matrix {
  size_t features;
  size_t inputs;
};
// Output, feed-forward and attention matrices of models from 0.1 to 3 billion parameters.
constexpr Matrix kMatrices[] = {
    {49152, 576}, {1536, 576}, {8192, 2048}, {2048, 8192}, {8192, 3072}};
constexpr DType kSources[] = {DType::kBF16, DType::kF16, DType::kF32};
constexpr size_t kPromptRows = 512;
// Sequences that decode together, with BF16 activations.
constexpr size_t kBatches[] = {4, 8, 16, 32};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Copies of one matrix, together larger than every cache, so that a pass reads memory.
Result<std::vector<Linear>> pack_copies(const DensePath& path, WeightFormat format,
                                        const Matrix& matrix, ThreadPool& threads) {
  const size_t bytes = Linear::packed_bytes(format, matrix.features, matrix.inputs);
  const size_t copies = std::max<size_t>(1, (size_t{192} << 20) / bytes);
  std::vector<Linear> linears;
  for (size_t copy = 0; copy < copies; ++copy) {
    const auto rows = [&](size_t first, size_t count, float* out) {
      auto state = static_cast<uint32_t>(first * 2654435761u + copy + 1);
      for (size_t i = 0; i < count * matrix.inputs; ++i) {
        state = state * 1664525u + 1013904223u;
        out[i] = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-36f;
      }
    };
    SKVIS_TRY(Linear linear,
              Linear::pack(path, format, matrix.features, matrix.inputs, rows, {}, threads));
    linears.push_back(std::move(linear));
  }
  return linears;
}

// Seconds of one product of `rows` rows with each of the copies.
double time_products(const DensePath& path, std::span<const Linear> linears, size_t rows,
                     RowKind kind, ThreadPool& threads) {
  const size_t inputs = linears[0].inputs();
  std::vector<float> x(rows * inputs, 0.5f);
  std::vector<float> y(rows * linears[0].features());
  LinearWorkspace workspace;
  workspace.ensure(rows, inputs, threads.threads());
  const RowRun run{.first = 0, .rows = rows, .kind = kind};
  const auto start = std::chrono::steady_clock::now();
  for (const Linear& linear : linears) {
    const LinearOutput output{.linear = &linear, .y = y.data()};
    multiply(path, x.data(), {&run, 1}, {&output, 1}, workspace, threads);
  }
  return seconds_since(start);
}

// Products of generated rows under --bf16, every copy read from memory.
Json bench_batches(DensePath path, std::span<const Linear> linears, uint32_t repeats,
                   ThreadPool& threads) {
  path.mode = DenseMode::bf16;
  double values = 0;
  for (const Linear& linear : linears) {
    values += static_cast<double>(linear.features() * linear.inputs());
  }
  Json batches = Json::array();
  for (const size_t rows : kBatches) {
    std::vector<double> seconds;
    for (uint32_t repeat = 0; repeat < repeats; ++repeat) {
      seconds.push_back(time_products(path, linears, rows, RowKind::generated, threads));
    }
    const double flops = 2.0 * static_cast<double>(rows) * values / median(seconds);
    fmt::print("{:>21} generated rows, bf16: {:5.1f} GB/s of weights, {:4.0f} GFLOP/s\n", rows,
               values * sizeof(BFloat16) / median(seconds) / 1e9, flops / 1e9);
    std::fflush(stdout);
    batches.push_back(Json{{"rows", rows}, {"flops", flops}});
  }
  return batches;
}

Result<Json> bench_matrix(const DensePath& path, WeightFormat format, const Matrix& matrix,
                          const DenseBench& options, ReadBandwidth& bandwidth,
                          ThreadPool& threads) {
  SKVIS_TRY(const auto linears, pack_copies(path, format, matrix, threads));
  size_t bytes = 0;
  for (const Linear& linear : linears) bytes += linear.bytes();
  std::vector<double> rates;
  std::vector<double> shares;
  for (uint32_t repeat = 0; repeat < options.repeats; ++repeat) {
    const double seconds = time_products(path, linears, 1, RowKind::generated, threads);
    rates.push_back(static_cast<double>(bytes) / seconds);
    shares.push_back(rates.back() / bandwidth.measure(threads));
  }
  // Arithmetic binds here; one copy and a few passes say enough.
  std::vector<double> flops;
  for (uint32_t repeat = 0; repeat < std::min(options.repeats, 5u); ++repeat) {
    const double seconds =
        time_products(path, std::span(linears).first(1), kPromptRows, RowKind::prompt, threads);
    flops.push_back(2.0 * kPromptRows * static_cast<double>(matrix.features * matrix.inputs) /
                    seconds);
  }
  fmt::print(
      "{:>6} x {:<5} {:<4}  1 row {:5.1f} GB/s, {:3.0f} % of read bandwidth;  {} rows {:4.0f} "
      "GFLOP/s\n",
      matrix.features, matrix.inputs, weight_format_name(format), median(rates) / 1e9,
      100 * median(shares), kPromptRows, median(flops) / 1e9);
  std::fflush(stdout);
  Json batches = Json::array();
  if (format == WeightFormat::bf16 && path.kernels->linear_bf16 != nullptr) {
    batches = bench_batches(path, linears, options.repeats, threads);
  }
  return Json{{"features", matrix.features},
              {"inputs", matrix.inputs},
              {"format", weight_format_name(format)},
              {"bytes_per_second", median(rates)},
              {"share_of_read_bandwidth", median(shares)},
              {"prompt_rows", kPromptRows},
              {"prompt_flops", median(flops)},
              {"generated_batches", std::move(batches)}};
}

}  // namespace

Result<Json> bench_dense(const DenseBench& options) {
  ThreadPool threads(options.threads > 0 ? options.threads : available_threads());
  SKVIS_TRY(const DensePath path, choose_dense_path(DenseMode::fast));
  ReadBandwidth bandwidth(size_t{256} << 20);
  fmt::print("{} threads; this machine reads {:.1f} GB/s\n", threads.threads(),
             bandwidth.measure(threads) / 1e9);
  Json cases = Json::array();
  for (const DType source : kSources) {
    const WeightFormat format = path.format_for(source);
    fmt::print("{} weights: {}\n", dtype_name(source), path.description(format));
    for (const Matrix& matrix : kMatrices) {
      SKVIS_TRY(Json result, bench_matrix(path, format, matrix, options, bandwidth, threads));
      cases.push_back(std::move(result));
    }
  }
  return Json{{"threads", threads.threads()},
              {"kernels", kernels::level_name(kernels::active_kernels().level)},
              {"cases", std::move(cases)}};
}

}  // namespace skvis
