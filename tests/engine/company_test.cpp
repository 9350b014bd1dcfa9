// SPDX-License-Identifier: Apache-2.0
// A row's result depends on its tokens, not on its company: slices, threads, other sequences.
#include <xxhash.h>

#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

// Every byte of every sealed page, and the tables around them.
uint64_t hash_settled(const SequenceCache& sequence) {
  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  const auto add = [&](const void* data, size_t size) { XXH3_64bits_update(state, data, size); };
  for (uint32_t head = 0; head < sequence.layout().heads(); ++head) {
    for (const PageEntry& entry : sequence.head(head).sealed.pages) {
      add(&entry.live, sizeof entry.live);
      add(&entry.first, sizeof entry.first);
      add(entry.positions.data(), entry.positions.size() * sizeof(uint32_t));
      const Pool& pool = sequence.pool();
      add(pool.data(entry.page), pool.page_bytes(pool.class_of(entry.page)));
    }
  }
  const uint64_t hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return hash;
}

const std::vector<std::string> kPlans = {
    "full settle=64",
    "int8 settle=64",
    "int4-hadamard settle=64 exact=16",
    "int4 snapkv:0.5 settle=128 sinks=4 recent=32",
    "int8 streaming:96 settle=64 sinks=4 recent=16",
    "int8 snapkv:0.3 settle=prompt",
    "int8 keydiff:0.5 settle=64 recent=16 budget=pyramid beta=4",
    "int8 snapkv:0.4 settle=64 observe=16 budget=ada",
};

TEST(Company, settled_pages_are_the_same_bytes_for_all_slices_and_threads) {
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  const auto count = static_cast<uint32_t>(ids.size());
  for (const std::string& plan : kPlans) {
    uint64_t expected = 0;
    for (const size_t threads : {1, 2, 3, 4}) {
      const auto engine = tiny_engine({.plan = plan, .threads = threads});
      ASSERT_NE(engine, nullptr);
      for (const uint32_t chunk : {1u, 7u, 64u, 160u}) {
        if (threads > 1 && chunk == 1) continue;  // slow, and one thread has shown it
        auto sequence = engine->open_sequence(count, count);
        ASSERT_TRUE(sequence.ok()) << sequence.error().message;
        ASSERT_TRUE(engine->read(*sequence, ids, chunk, 0, {}).ok());
        const uint64_t hash = hash_settled(*sequence);
        if (expected == 0) expected = hash;
        EXPECT_EQ(hash, expected) << plan << ", " << threads << " threads, slices of " << chunk;
      }
    }
  }
}

// Generates greedily for several sequences in one step each, and answers their tokens.
std::vector<std::vector<uint32_t>> decode_together(
    Engine& engine, const std::vector<std::vector<uint32_t>>& prompts, size_t steps) {
  std::vector<SequenceCache> sequences;
  std::vector<std::vector<uint32_t>> answers(prompts.size());
  std::vector<float> logits(prompts.size() * engine.vocabulary());
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto size = static_cast<uint32_t>(prompts[i].size());
    auto sequence = engine.open_sequence(size, size + static_cast<uint32_t>(steps));
    EXPECT_TRUE(sequence.ok()) << sequence.error().message;
    sequences.push_back(std::move(*sequence));
    std::vector<float> last(engine.vocabulary());
    EXPECT_TRUE(engine.read(sequences[i], prompts[i], kPromptChunk, 1, last).ok());
    answers[i].push_back(argmax(last));
  }
  for (size_t step = 0; step < steps; ++step) {
    std::vector<StepWork> work;
    for (size_t i = 0; i < prompts.size(); ++i) {
      work.push_back({.sequence = &sequences[i],
                      .tokens = {&answers[i].back(), 1},
                      .kind = RowKind::generated,
                      .logits_rows = 1});
    }
    EXPECT_TRUE(engine.step(work, logits).ok());
    for (size_t i = 0; i < prompts.size(); ++i) {
      answers[i].push_back(
          argmax(std::span(logits).subspan(i * engine.vocabulary(), engine.vocabulary())));
    }
  }
  return answers;
}

TEST(Company, ragged_sequences_decode_together_as_they_do_alone) {
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  std::vector<std::vector<uint32_t>> prompts;
  for (const size_t length : {5, 63, 130, 300}) {
    prompts.emplace_back(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(length));
  }
  for (const std::string& plan : kPlans) {
    const auto engine = tiny_engine({.plan = plan});
    const auto together = decode_together(*engine, prompts, 24);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(decode_together(*engine, {prompts[i]}, 24)[0], together[i]) << plan;
    }
    const PoolFigures figures = engine->pool().figures();
    EXPECT_EQ(figures.used + figures.wasted + figures.reserved, 0u) << plan;
  }
}

TEST(Company, heads_really_keep_different_numbers_of_rows) {
  const auto ids = read_ids(source_path("models/tiny/ids.json"));
  const auto count = static_cast<uint32_t>(ids.size());
  const auto engine = tiny_engine({.plan = R"({"settle": "prompt", "sinks": 4, "recent": 32,
                   "keep": {"selector": "snapkv", "budget": "table",
                            "table": [{"layers": "*", "heads": "*", "ratio": 0.25},
                                      {"layers": "0-1", "heads": "*", "ratio": 1.0},
                                      {"layers": "3", "heads": "2", "ratio": 0.75}]},
                   "store": [{"layers": "*", "heads": "*", "key": "int8", "value": "int8"}]})"});
  ASSERT_NE(engine, nullptr);
  auto sequence = engine->open_sequence(count, count);
  ASSERT_TRUE(sequence.ok());
  ASSERT_TRUE(engine->read(*sequence, ids, kPromptChunk, 0, {}).ok());
  const auto rows = [&](uint32_t layer, uint32_t head) {
    const HeadCache& cache = sequence->head(layer * 4 + head);
    return cache.sealed.rows() + static_cast<uint32_t>(std::popcount(cache.sinks.live));
  };
  EXPECT_EQ(rows(0, 0), count);
  EXPECT_EQ(rows(2, 1), count / 4);
  EXPECT_EQ(rows(3, 1), count / 4);
  EXPECT_EQ(rows(3, 2), count * 3 / 4);
}

}  // namespace
}  // namespace skvis::testing
