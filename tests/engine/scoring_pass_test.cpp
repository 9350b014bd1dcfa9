// SPDX-License-Identifier: Apache-2.0
// The second reading of a prompt on a trained model.
#include "engine/scoring_pass.hpp"

#include <gmock/gmock.h>

#include "cache/rows.hpp"
#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::HasSubstr;

std::vector<uint32_t> tiny_ids(size_t count) {
  auto ids = read_ids(source_path("models/tiny/ids.json"));
  ids.resize(std::min(count, ids.size()));
  return ids;
}

SequenceCache read_all(Engine& engine, std::span<const uint32_t> ids) {
  const auto count = static_cast<uint32_t>(ids.size());
  auto sequence = engine.open_sequence(count, count + 64);
  EXPECT_TRUE(sequence.ok()) << sequence.error().message;
  const auto read = engine.read(*sequence, ids, 100, 0, {});
  EXPECT_TRUE(read.ok()) << read.error().message;
  return std::move(*sequence);
}

std::vector<float> states(SequenceCache& sequence, uint32_t head) {
  std::vector<float> all;
  for (const LiveRow& row : live_rows(sequence, head, sequence.length())) {
    all.push_back(*row_state(sequence, head, row));
  }
  return all;
}

// Scores of one part by the definition, in float64, from queries and keys after RoPE that an
// ordinary reading of [prompt, instruction, part] under the full plan gives.
std::vector<std::vector<double>> plain_scores(LoadedModel& model, Engine& engine,
                                              std::span<const uint32_t> prompt, uint32_t begin,
                                              uint32_t end) {
  std::vector<uint32_t> ids(prompt.begin(), prompt.end());
  const auto before = instruction_for(repeat_instruction(model), prompt, begin);
  ids.insert(ids.end(), before.begin(), before.end());
  ids.insert(ids.end(), prompt.begin() + begin, prompt.begin() + end);
  const auto count = static_cast<uint32_t>(ids.size());
  auto sequence = engine.open_sequence(count, count);
  EXPECT_TRUE(sequence.ok());
  const SequenceSlice slice{.sequence = &*sequence, .rows = count};
  auto step = AttentionStep::begin({&slice, 1}, engine.threads(), {.queries_and_keys = true});
  EXPECT_TRUE(step.ok());
  std::vector<StepRow> rows;
  for (const uint32_t id : ids) rows.push_back({.token = static_cast<int32_t>(id)});
  EXPECT_TRUE(model.model.forward(rows, **step, {}, engine.threads()).ok());
  const CacheShape& shape = engine.plan().shape;
  const uint32_t group = shape.group_size();
  const size_t width = shape.head_dim;
  const auto block = static_cast<uint32_t>(prompt.size());
  std::vector<std::vector<double>> scores(shape.heads(), std::vector<double>(end - begin, 0.0));
  for (uint32_t head = 0; head < shape.heads(); ++head) {
    const HeadId id = shape.head(head);
    const LayerRecord& record = (*step)->records(0)[id.layer];
    for (uint32_t i = block; i < count; ++i) {
      for (uint32_t g = 0; g < group; ++g) {
        const float* q =
            &record.q_after_rope[(size_t{i} * shape.query_heads + id.head * group + g) * width];
        std::vector<double> weights;
        double sum = 0;
        for (uint32_t j = 0; j <= i; ++j) {
          const bool part = j >= begin && j < end;
          if (!part && j < block && j >= std::min(4u, begin)) continue;
          const float* k = &record.k_after_rope[(size_t{j} * shape.kv_heads + id.head) * width];
          double dot = 0;
          for (size_t c = 0; c < width; ++c) dot += double{q[c]} * k[c];
          const double weight = std::exp(dot * shape.attention_scale);
          sum += weight;
          if (part) weights.push_back(weight);
        }
        for (size_t j = 0; j < weights.size(); ++j) {
          scores[head][j] = std::max(scores[head][j], weights[j] / sum);
        }
      }
    }
  }
  return scores;
}

TEST(ScoringPass, states_are_what_a_plain_repetition_attends_to) {
  const auto ids = tiny_ids(150);
  const auto engine =
      tiny_engine({.plan = "kvzip:1.0 chunk=100 settle=prompt", .mode = DenseMode::precise});
  const auto full = tiny_engine({.mode = DenseMode::precise});
  auto model = load_model(source_path("models/tiny").string(), {.mode = DenseMode::precise},
                          full->threads());
  ASSERT_TRUE(model.ok());
  SequenceCache sequence = read_all(*engine, ids);
  for (const auto& [begin, end] : {std::pair{0u, 100u}, std::pair{100u, 150u}}) {
    const auto expected = plain_scores(*model, *full, ids, begin, end);
    for (uint32_t head = 0; head < expected.size(); ++head) {
      const auto found = states(sequence, head);
      ASSERT_EQ(found.size(), ids.size());
      for (uint32_t j = begin; j < end; ++j) {
        ASSERT_NEAR(found[j], expected[head][j - begin], 1e-3 * expected[head][j - begin] + 1e-9)
            << "head " << head << " row " << j;
      }
    }
  }
}

TEST(ScoringPass, it_leaves_the_cache_as_it_was_but_for_the_states) {
  const auto ids = tiny_ids(300);
  const auto all = tiny_engine({.plan = "kvzip:1.0 chunk=64 settle=prompt"});
  const auto full = tiny_engine({.plan = "full settle=prompt sinks=4"});
  SequenceCache scored = read_all(*all, ids);
  SequenceCache plain = read_all(*full, ids);
  EXPECT_EQ(scored.rows_held(), plain.rows_held());
  EXPECT_EQ(scored.length(), plain.length());
  std::vector<float> a(all->vocabulary()), b(all->vocabulary());
  uint32_t token = 17;
  for (int i = 0; i < 20; ++i) {
    for (auto [engine, sequence, logits] : {std::tuple{&all, &scored, &a}, {&full, &plain, &b}}) {
      const StepWork work{.sequence = sequence,
                          .tokens = {&token, 1},
                          .kind = RowKind::generated,
                          .logits_rows = 1};
      ASSERT_TRUE((*engine)->step({&work, 1}, *logits).ok());
    }
    ASSERT_EQ(a, b) << i;
    token = static_cast<uint32_t>(std::max_element(a.begin(), a.end()) - a.begin());
  }
}

TEST(ScoringPass, slices_of_the_first_reading_and_threads_change_no_score) {
  const auto ids = tiny_ids(200);
  std::vector<float> expected;
  for (const size_t threads : {1, 2, 3}) {
    const auto engine =
        tiny_engine({.plan = "kvzip:1.0 chunk=90 settle=prompt", .threads = threads});
    for (const uint32_t chunk : {23u, 200u}) {
      auto sequence = engine->open_sequence(200, 200);
      ASSERT_TRUE(sequence.ok());
      ASSERT_TRUE(engine->read(*sequence, ids, chunk, 0, {}).ok());
      std::vector<float> found;
      for (uint32_t head = 0; head < engine->layout().heads(); ++head) {
        const auto of_head = states(*sequence, head);
        found.insert(found.end(), of_head.begin(), of_head.end());
      }
      if (expected.empty()) expected = found;
      EXPECT_EQ(found, expected);
    }
  }
}

// Names and numbers cannot be guessed: whoever repeats them must look at them.
TEST(ScoringPass, what_cannot_be_guessed_scores_higher_than_what_can) {
  const auto engine = tiny_engine({.plan = "kvzip:1.0 settle=prompt"});
  const auto words = engine->model().tokenizer->encode(
      "Once upon a time there was a little girl, and she was very happy. She went to the house, "
      "and "
      "she said to her mother that she was very happy, and her mother was very happy too. ");
  const auto strange = engine->model().tokenizer->encode("zebra 71 quartz 93 ");
  ASSERT_TRUE(words.ok() && strange.ok());
  std::vector<uint32_t> ids = *words;
  ids.insert(ids.end(), strange->begin(), strange->end());
  ids.insert(ids.end(), words->begin(), words->end());
  SequenceCache sequence = read_all(*engine, ids);
  double planted = 0, twice = 0;
  for (uint32_t head = 0; head < engine->layout().heads(); ++head) {
    const auto found = states(sequence, head);
    for (size_t j = 0; j < found.size(); ++j) {
      const bool is_planted = j >= words->size() && j < words->size() + strange->size();
      (is_planted ? planted : twice) +=
          found[j] / static_cast<double>(is_planted ? strange->size() : 2 * words->size());
    }
  }
  EXPECT_GT(planted, 1.2 * twice);
}

TEST(ScoringPass, a_later_turn_scores_its_own_rows_and_reads_the_older_ones_as_they_are_kept) {
  const auto ids = tiny_ids(260);
  const auto engine = tiny_engine({.plan = "kvzip:0.5 settle=prompt sinks=4"});
  auto sequence = engine->open_sequence(200, 260);
  ASSERT_TRUE(sequence.ok());
  ASSERT_TRUE(engine->read(*sequence, std::span(ids).first(120), 50, 0, {}).ok());
  std::vector<std::vector<std::pair<uint32_t, float>>> kept;
  for (uint32_t head = 0; head < engine->layout().heads(); ++head) {
    kept.emplace_back();
    for (const LiveRow& row : live_rows(*sequence, head, 120)) {
      kept.back().emplace_back(row.position, *row_state(*sequence, head, row));
    }
    EXPECT_EQ(kept.back().size(), 60u);
  }
  ASSERT_TRUE(
      engine->read(*sequence, std::span(ids).subspan(120), 50, 0, {}, {}, std::span(ids)).ok());
  for (uint32_t head = 0; head < engine->layout().heads(); ++head) {
    const auto rows = live_rows(*sequence, head, 260);
    EXPECT_EQ(rows.size(), 130u);
    for (size_t i = 0; i < rows.size(); ++i) {
      const float state = *row_state(*sequence, head, rows[i]);
      if (i < kept[head].size()) {
        EXPECT_EQ(kept[head][i], std::pair(rows[i].position, state));
      } else {
        EXPECT_GT(state, 0);
      }
    }
  }
}

TEST(ScoringPass, without_all_tokens_a_step_is_refused_and_nothing_has_happened) {
  const auto ids = tiny_ids(40);
  const auto engine = tiny_engine({.plan = "kvzip:0.5 settle=prompt"});
  auto sequence = engine->open_sequence(40, 40);
  ASSERT_TRUE(sequence.ok());
  StepWork work{.sequence = &*sequence, .tokens = ids, .prompt_ends = true};
  const auto refused = engine->step({&work, 1}, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("given 0 of the 40 tokens of the sequence"));
  EXPECT_EQ(sequence->length(), 0u);
  work.prompt = ids;
  EXPECT_TRUE(engine->step({&work, 1}, {}).ok());
}

TEST(ScoringPass, progress_runs_through_both_readings_and_can_stop_the_second) {
  const auto ids = tiny_ids(380);
  const auto engine = tiny_engine({.plan = "kvzip:0.5 settle=prompt"});
  std::vector<size_t> seen;
  for (const bool stop : {false, true}) {
    auto sequence = engine->open_sequence(380, 500);
    ASSERT_TRUE(sequence.ok());
    seen.clear();
    const auto progress = [&](size_t done, size_t total) {
      EXPECT_EQ(total, ids.size());
      seen.push_back(done);
      return !stop || done <= 190;
    };
    ASSERT_TRUE(engine->read(*sequence, ids, 100, 0, {}, progress).ok());
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    EXPECT_EQ(seen.back(), 380u);
    EXPECT_EQ(sequence->committed(), 380u);
    EXPECT_EQ(sequence->length(), 380u);
    EXPECT_EQ(sequence->all_exact(), stop);  // nothing settles on half a score
    if (!stop) continue;
    const uint32_t token = 5;  // the sequence stays usable
    const StepWork work{.sequence = &*sequence, .tokens = {&token, 1}, .kind = RowKind::generated};
    EXPECT_TRUE(engine->step({&work, 1}, {}).ok());
  }
}

}  // namespace
}  // namespace skvis::testing
