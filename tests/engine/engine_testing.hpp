// SPDX-License-Identifier: Apache-2.0
// What the tests of the engine share: making engines, reading texts, comparing logits.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/npy.hpp"
#include "engine/generation.hpp"
#include "files.hpp"
#include "kernels/table.hpp"

namespace skvis::testing {

inline Json read_json(const std::filesystem::path& path) {
  auto text = read_file(path);
  EXPECT_TRUE(text.ok()) << path;
  auto json = parse_json(*text, path.string());
  EXPECT_TRUE(json.ok()) << path;
  return *json;
}

inline std::vector<uint32_t> read_ids(const std::filesystem::path& path) {
  return read_json(path).get<std::vector<uint32_t>>();
}

struct EngineSetup {
  std::string plan = "full";
  DenseMode mode = DenseMode::fast;
  size_t threads = 2;
  size_t kv_memory = size_t{256} << 20;
};

inline std::unique_ptr<Engine> make_engine(const std::string& model,
                                           const EngineSetup& setup = {}) {
  auto engine = Engine::create(model, {.plan = setup.plan,
                                       .kv_memory = setup.kv_memory,
                                       .threads = setup.threads,
                                       .mode = setup.mode});
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  return engine ? std::move(*engine) : nullptr;
}

inline std::unique_ptr<Engine> tiny_engine(const EngineSetup& setup = {}) {
  return make_engine(source_path("models/tiny").string(), setup);
}

// Forces a kernel level for as long as it lives.
class ForcedLevel {
 public:
  explicit ForcedLevel(kernels::Level level) : before_(kernels::active_kernels().level) {
    EXPECT_TRUE(kernels::force_level(kernels::level_name(level)).ok());
  }
  ~ForcedLevel() { EXPECT_TRUE(kernels::force_level(kernels::level_name(before_)).ok()); }

 private:
  kernels::Level before_;
};

// Logits [last, vocabulary] of the last positions of a text, read as prompt rows.
inline std::vector<float> read_logits(Engine& engine, std::span<const uint32_t> ids, uint32_t last,
                                      uint32_t chunk = kPromptChunk) {
  const auto count = static_cast<uint32_t>(ids.size());
  auto sequence = engine.open_sequence(count, count);
  EXPECT_TRUE(sequence.ok()) << sequence.error().message;
  std::vector<float> logits(last * engine.vocabulary());
  const auto read = engine.read(*sequence, ids, chunk, last, logits);
  EXPECT_TRUE(read.ok()) << read.error().message;
  return logits;
}

// ||a - b|| / ||b||
inline double relative_norm(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0;
  double reference = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    reference += double{b[i]} * b[i];
  }
  return std::sqrt(difference / reference);
}

inline std::vector<uint32_t> encode(const Engine& engine, std::string_view text) {
  auto ids = engine.model().tokenizer->encode(text);
  EXPECT_TRUE(ids.ok());
  return *ids;
}

inline GenerationRequest greedy(std::vector<uint32_t> prompt, uint32_t max_tokens) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

inline std::vector<float> golden_logits(const std::filesystem::path& path) {
  auto array = read_npy(path);
  EXPECT_TRUE(array.ok()) << array.error().message;
  return array->data;
}

}  // namespace skvis::testing
