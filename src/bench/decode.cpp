// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "base/bytes.hpp"
#include "bench/bandwidth.hpp"
#include "bench/bench.hpp"
#include "engine/sampler.hpp"

namespace skvis {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The same tokens in every run: what they say does not matter, only that they differ.
std::vector<uint32_t> some_tokens(uint32_t count, size_t vocabulary) {
  std::vector<uint32_t> tokens(count);
  uint32_t state = 1;
  for (uint32_t& token : tokens) {
    state = state * 1664525u + 1013904223u;
    token = static_cast<uint32_t>((state >> 8) % vocabulary);
  }
  return tokens;
}

}  // namespace

Result<Json> bench_decode(Engine& engine, const DecodeBench& options) {
  const uint32_t count = options.sequences;
  std::vector<SequenceCache> sequences;
  std::vector<float> logits(count * engine.vocabulary());
  std::vector<uint32_t> next(count);
  uint32_t prompt_tokens = 0;
  auto start = std::chrono::steady_clock::now();
  for (uint32_t i = 0; i < count; ++i) {
    // Ragged: the lengths are spread evenly up to the whole context.
    const uint32_t length = std::max(1u, options.context * (i + 1) / count);
    SKVIS_TRY(SequenceCache sequence, engine.open_sequence(length, length + options.steps));
    const auto prompt = some_tokens(length, engine.vocabulary());
    const std::span last(logits.data() + i * engine.vocabulary(), engine.vocabulary());
    SKVIS_CHECK(engine.read(sequence, prompt, kPromptChunk, 1, last));
    next[i] = argmax(last);
    prompt_tokens += length;
    sequences.push_back(std::move(sequence));
  }
  const double prompt_seconds = seconds_since(start);

  std::vector<double> step_seconds;
  for (uint32_t step = 0; step < options.steps; ++step) {
    std::vector<StepWork> work;
    for (uint32_t i = 0; i < count; ++i) {
      work.push_back({.sequence = &sequences[i],
                      .tokens = {&next[i], 1},
                      .kind = RowKind::generated,
                      .logits_rows = 1});
    }
    start = std::chrono::steady_clock::now();
    SKVIS_CHECK(engine.step(work, logits));
    step_seconds.push_back(seconds_since(start));
    for (uint32_t i = 0; i < count; ++i) {
      next[i] = argmax(std::span(logits).subspan(i * engine.vocabulary(), engine.vocabulary()));
    }
  }
  const double seconds = median(step_seconds);
  size_t kv_bytes = 0;
  size_t full_bytes = 0;
  for (const SequenceCache& sequence : sequences) {
    kv_bytes += sequence.bytes().rows;
    full_bytes += engine.layout().full_cache_bytes(sequence.committed());
  }
  const size_t weights = engine.model().model.weight_bytes();
  ReadBandwidth bandwidth(size_t{256} << 20);
  std::vector<double> rates;
  for (int i = 0; i < 5; ++i) rates.push_back(bandwidth.measure(engine.threads()));
  const double read_rate = median(rates);
  const double step_bytes = static_cast<double>(kv_bytes + weights);
  const double share = step_bytes / seconds / read_rate;
  fmt::print(
      "{} sequences up to {} tokens under '{}': prompt {:.0f} tokens/s, decode {:.1f} tokens/s "
      "({:.2f} ms a step); a step reads {} of weights and {} of KV (full cache {}), {:.0f} % of "
      "the {:.1f} GB/s that this machine reads\n",
      count, options.context, engine.plan().name, prompt_tokens / prompt_seconds, count / seconds,
      1e3 * seconds, format_bytes(static_cast<double>(weights)),
      format_bytes(static_cast<double>(kv_bytes)), format_bytes(static_cast<double>(full_bytes)),
      100 * share, read_rate / 1e9);
  return Json{{"sequences", count},
              {"context", options.context},
              {"plan", engine.plan().name},
              {"prompt_tokens_per_second", prompt_tokens / prompt_seconds},
              {"decode_tokens_per_second", count / seconds},
              {"step_seconds", seconds},
              {"weight_bytes", weights},
              {"kv_bytes", kv_bytes},
              {"full_cache_bytes", full_bytes},
              {"read_bytes_per_second", read_rate},
              {"share_of_read_bandwidth", share}};
}

}  // namespace skvis
