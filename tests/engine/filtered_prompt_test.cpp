// SPDX-License-Identifier: Apache-2.0
// Prompts of which later layers see fewer rows, on a trained model.
#include "engine/filtered_prompt.hpp"

#include <gmock/gmock.h>

#include <algorithm>

#include "cache/rows.hpp"
#include "cache/sequence_image.hpp"
#include "engine/engine_testing.hpp"

namespace skvis::testing {
namespace {

using ::testing::HasSubstr;

std::vector<uint32_t> tiny_ids(size_t count) {
  auto ids = read_ids(source_path("models/tiny/ids.json"));
  ids.resize(std::min(count, ids.size()));
  return ids;
}

struct ReadPrompt {
  SequenceCache sequence;
  std::vector<float> logits;  // of the last row
};

ReadPrompt read_prompt(Engine& engine, std::span<const uint32_t> ids, uint32_t chunk = 64) {
  const auto count = static_cast<uint32_t>(ids.size());
  auto sequence = engine.open_sequence(count, count + 16);
  EXPECT_TRUE(sequence.ok()) << sequence.error().message;
  std::vector<float> logits(engine.vocabulary());
  const auto read = engine.read(*sequence, ids, chunk, 1, logits);
  EXPECT_TRUE(read.ok()) << read.error().message;
  return {std::move(*sequence), std::move(logits)};
}

std::vector<uint32_t> kept(const SequenceCache& sequence, uint32_t head) {
  std::vector<uint32_t> positions;
  for (const LiveRow& row : live_rows(sequence, head, sequence.length())) {
    positions.push_back(row.position);
  }
  return positions;
}

// Attention by its definition, in float64: rows at given positions, each of which sees those
// before.
class PlainAttention final : public LayerCache {
 public:
  PlainAttention(const CacheShape& shape, std::vector<uint32_t> positions)
      : shape_(shape), positions_(std::move(positions)) {}
  void attend(const LayerInput& input, float* out) override {
    const size_t width = shape_.head_dim;
    const auto rotated = [&](const float* rows, size_t heads, size_t row, size_t head) {
      std::vector<float> angles(width), result(width);
      rotary_angles(*input.rotary, positions_[row], angles.data());
      rotate_row(rows + (row * heads + head) * width, angles.data(), width / 2, result.data());
      return result;
    };
    for (size_t head = 0; head < shape_.query_heads; ++head) {
      const size_t kv = head / shape_.group_size();
      std::vector<std::vector<float>> keys;
      for (size_t row = 0; row < positions_.size(); ++row) {
        keys.push_back(rotated(input.k, shape_.kv_heads, row, kv));
        const auto query = rotated(input.q, shape_.query_heads, row, head);
        std::vector<double> sums(width);
        double total = 0;
        for (size_t j = 0; j <= row; ++j) {
          double dot = 0;
          for (size_t c = 0; c < width; ++c) dot += double{query[c]} * keys[j][c];
          const double weight = std::exp(dot * shape_.attention_scale);
          total += weight;
          const float* value = input.v + (j * shape_.kv_heads + kv) * width;
          for (size_t c = 0; c < width; ++c) sums[c] += weight * value[c];
        }
        float* to = out + (row * shape_.query_heads + head) * width;
        for (size_t c = 0; c < width; ++c) to[c] = static_cast<float>(sums[c] / total);
      }
    }
  }

 private:
  const CacheShape& shape_;
  std::vector<uint32_t> positions_;
};

// The two-phase reading with nothing to leave behind gives the bits of an ordinary one.
TEST(FilteredPrompt, without_rows_to_leave_behind_nothing_changes) {
  const auto ids = tiny_ids(300);
  const std::string same = "observe=8 kernel=7 pool=max settle=prompt sinks=4";
  const auto plain = tiny_engine({.plan = "snapkv:0.4 " + same});
  ReadPrompt expected = read_prompt(*plain, ids);
  for (const std::string plan : {"fastkv:0.4 rate=1 ", "uncomp:0.4 floor=300 "}) {
    const auto engine = tiny_engine({.plan = plan + same});
    EXPECT_EQ(engine->layout().filters_rows(), plan.starts_with("uncomp"));
    ReadPrompt read = read_prompt(*engine, ids);
    EXPECT_EQ(read.logits, expected.logits) << plan;
    for (uint32_t head = 0; head < engine->layout().heads(); ++head) {
      EXPECT_EQ(kept(read.sequence, head), kept(expected.sequence, head));
    }
  }
}

// FastKV's card: N = 1000, rates 0.2 and 0.1; here 300 tokens, six layers, three of them full.
TEST(FilteredPrompt, every_layer_holds_what_its_budget_says_of_the_rows_that_reached_it) {
  const auto ids = tiny_ids(300);
  const auto engine = tiny_engine({.plan = "fastkv:0.1 rate=0.2 settle=prompt sinks=4"});
  const ReadPrompt small = read_prompt(*engine, ids);
  const auto most = tiny_engine({.plan = "fastkv:1.0 rate=0.2 settle=prompt sinks=4"});
  const ReadPrompt all = read_prompt(*most, ids);
  const CacheShape& shape = engine->plan().shape;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      const uint32_t index = shape.index({layer, head});
      EXPECT_EQ(kept(small.sequence, index).size(), 30u);
      EXPECT_EQ(kept(all.sequence, index).size(), layer < 3 ? 300u : 60u);
      // All heads and later layers see the same tokens.
      if (layer >= 3) {
        EXPECT_EQ(kept(all.sequence, index), kept(all.sequence, 3 * shape.kv_heads));
      }
    }
  }
}

TEST(FilteredPrompt, stages_lose_rows_one_after_the_other) {
  const auto ids = tiny_ids(300);
  const auto engine = tiny_engine({.plan = "uncomp:1.0 floor=100 settle=prompt sinks=4"});
  const ReadPrompt read = read_prompt(*engine, ids);
  const CacheShape& shape = engine->plan().shape;
  std::vector<size_t> rows;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    rows.push_back(kept(read.sequence, layer * shape.kv_heads).size());
    const auto here = kept(read.sequence, layer * shape.kv_heads);
    if (layer == 0) continue;
    const auto before = kept(read.sequence, (layer - 1) * shape.kv_heads);
    EXPECT_TRUE(std::includes(before.begin(), before.end(), here.begin(), here.end()));
  }
  // Layers 1, 3 and 5 of 6 stand at 5, 16 and 26 of 32: stages 1, 2 and 3.
  EXPECT_EQ(rows, (std::vector<size_t>{300, 250, 250, 200, 200, 150}));
}

// The survivors' forward pass against attention by its definition at their true positions.
TEST(FilteredPrompt, survivors_attend_to_survivors_at_their_true_positions) {
  const auto ids = tiny_ids(200);
  const auto engine = tiny_engine({.plan = "fastkv:1.0 rate=0.3 settle=prompt sinks=4 key=f32 "
                                           "value=f32",
                                   .mode = DenseMode::precise});
  const ReadPrompt read = read_prompt(*engine, ids);
  const CacheShape& shape = engine->plan().shape;
  const auto survivors = kept(read.sequence, 3 * shape.kv_heads);
  ASSERT_EQ(survivors.size(), 60u);
  ASSERT_NE(survivors.back(), survivors.size() - 1);

  auto loaded = load_model(source_path("models/tiny").string(), {.mode = DenseMode::precise},
                           engine->threads());
  ASSERT_TRUE(loaded.ok());
  Model& model = loaded->model;
  std::vector<StepRow> rows;
  std::vector<uint32_t> positions;
  for (const uint32_t id : ids) {
    positions.push_back(static_cast<uint32_t>(rows.size()));
    rows.push_back({.token = static_cast<int32_t>(id)});
  }
  const size_t width = model.config().hidden_size;
  std::vector<float> hidden(rows.size() * width), chosen;
  PlainAttention first(shape, positions);
  ASSERT_TRUE(
      model.forward(rows, first, {}, engine->threads(), {.last = 3, .out = hidden.data()}).ok());
  for (const uint32_t position : survivors) {
    chosen.insert(chosen.end(), hidden.begin() + position * width,
                  hidden.begin() + (position + 1) * width);
  }
  rows.resize(survivors.size());
  rows.back().wants_logits = true;
  PlainAttention second(shape, survivors);
  std::vector<float> logits(engine->vocabulary());
  ASSERT_TRUE(
      model.forward(rows, second, logits, engine->threads(), {.first = 3, .in = chosen.data()})
          .ok());
  EXPECT_LT(relative_norm(read.logits, logits), 1e-4);
  // Positions from 0 to 59 would be another text.
  std::vector<uint32_t> renumbered(survivors.size());
  for (uint32_t i = 0; i < renumbered.size(); ++i) renumbered[i] = i;
  PlainAttention wrong(shape, renumbered);
  ASSERT_TRUE(
      model.forward(rows, wrong, logits, engine->threads(), {.first = 3, .in = chosen.data()})
          .ok());
  EXPECT_GT(relative_norm(read.logits, logits), 1e-2);
}

// What stays in the cache and what goes on are two decisions.
TEST(FilteredPrompt, rate_and_ratio_do_not_touch_each_other) {
  const auto ids = tiny_ids(300);
  const auto a = tiny_engine({.plan = "fastkv:0.1 rate=0.2 settle=prompt sinks=4"});
  const auto b = tiny_engine({.plan = "fastkv:0.2 rate=0.2 settle=prompt sinks=4"});
  const auto c = tiny_engine({.plan = "fastkv:0.1 rate=0.5 settle=prompt sinks=4"});
  const ReadPrompt of_a = read_prompt(*a, ids);
  const ReadPrompt of_c = read_prompt(*c, ids);
  EXPECT_EQ(of_a.logits, read_prompt(*b, ids).logits);
  EXPECT_NE(of_a.logits, of_c.logits);
  for (uint32_t head = 0; head < 3 * a->plan().shape.kv_heads; ++head) {
    EXPECT_EQ(kept(of_a.sequence, head), kept(of_c.sequence, head));
  }
}

TEST(FilteredPrompt, slices_do_not_count) {
  const auto ids = tiny_ids(300);
  for (const std::string plan : {"fastkv:0.3 settle=prompt", "uncomp:0.3 floor=64 settle=prompt"}) {
    const auto engine = tiny_engine({.plan = plan});
    const ReadPrompt whole = read_prompt(*engine, ids, 512);
    for (const uint32_t chunk : {1u, 37u, 128u}) {
      const ReadPrompt parts = read_prompt(*engine, ids, chunk);
      EXPECT_EQ(parts.logits, whole.logits) << plan << ", " << chunk;
      EXPECT_EQ(kept(parts.sequence, 20), kept(whole.sequence, 20));
    }
  }
}

TEST(FilteredPrompt, prompts_that_fit_into_a_number_of_tokens_lose_nothing) {
  const auto ids = tiny_ids(100);
  const auto engine = tiny_engine({.plan = "fastkv:128 settle=prompt"});
  const auto plain = tiny_engine({.plan = "snapkv:128 settle=prompt observe=8"});
  EXPECT_EQ(read_prompt(*engine, ids).logits, read_logits(*plain, ids, 1));
}

// Prompts, answers and later turns in any company.
TEST(FilteredPrompt, company_changes_nothing_and_memory_comes_back) {
  const auto ids = tiny_ids(260);
  const auto engine = tiny_engine({.plan = "fastkv:0.5 settle=prompt sinks=4"});
  const auto vocabulary = engine->vocabulary();
  const auto prompt = std::span(ids).first(200);
  const uint32_t token = ids[200];
  const auto later = std::span(ids).subspan(201);
  std::vector<float> alone(vocabulary), turn(vocabulary);
  {
    ReadPrompt first = read_prompt(*engine, prompt);
    auto second = engine->open_sequence(200, 280);
    ASSERT_TRUE(second.ok());
    ASSERT_TRUE(engine->read(*second, prompt, 64, 0, {}).ok());
    const StepWork generated{
        .sequence = &*second, .tokens = {&token, 1}, .kind = RowKind::generated, .logits_rows = 1};
    ASSERT_TRUE(engine->step({&generated, 1}, alone).ok());
    ASSERT_TRUE(engine->read(*second, later, 64, 1, turn).ok());

    auto third = engine->open_sequence(200, 280);
    auto fourth = engine->open_sequence(200, 280);
    ASSERT_TRUE(third.ok() && fourth.ok());
    ASSERT_TRUE(engine->read(*third, prompt, 64, 0, {}).ok());
    std::vector<float> both(2 * vocabulary);
    const StepWork work[] = {
        {.sequence = &*fourth, .tokens = prompt, .logits_rows = 1, .prompt_ends = true},
        {.sequence = &*third, .tokens = {&token, 1}, .kind = RowKind::generated, .logits_rows = 1}};
    ASSERT_TRUE(engine->step(work, both).ok());
    EXPECT_TRUE(std::equal(first.logits.begin(), first.logits.end(), both.begin()));
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), both.begin() + vocabulary));
    std::vector<float> again(vocabulary);
    ASSERT_TRUE(engine->read(*third, later, 9, 1, again).ok());
    EXPECT_EQ(again, turn);
    EXPECT_EQ(engine->pool().figures(), engine->pool().recount());
  }
  EXPECT_EQ(engine->pool().figures().used, 0u);
}

TEST(FilteredPrompt, logits_of_rows_that_stay_behind_are_refused_before_anything_happens) {
  const auto ids = tiny_ids(100);
  const auto engine = tiny_engine({.plan = "fastkv:0.5 settle=prompt exact=16"});
  auto sequence = engine->open_sequence(100, 100);
  ASSERT_TRUE(sequence.ok());
  std::vector<float> logits(100 * engine->vocabulary());
  const StepWork work{
      .sequence = &*sequence, .tokens = ids, .logits_rows = 100, .prompt_ends = true};
  const auto refused = engine->step({&work, 1}, logits);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("only the newest rows"));
  EXPECT_EQ(sequence->length(), 0u);
}

// A prompt that is written out half read, and one whose rows lie in later layers with gaps.
TEST(FilteredPrompt, waiting_rows_survive_being_written_out) {
  const auto ids = tiny_ids(300);
  const auto engine = tiny_engine({.plan = "fastkv:0.5 settle=prompt"});
  const ReadPrompt expected = read_prompt(*engine, ids);
  std::vector<std::byte> image;
  {
    auto sequence = engine->open_sequence(300, 316);
    ASSERT_TRUE(sequence.ok());
    const StepWork work{.sequence = &*sequence, .tokens = std::span(ids).first(150)};
    ASSERT_TRUE(engine->step({&work, 1}, {}).ok());
    image = SequenceImage::write(*sequence);
  }
  auto back = SequenceImage::read(image, engine->layout(), engine->pool(),
                                  engine->pool().reserve(engine->layout().worst_case(300, 316)));
  ASSERT_TRUE(back.ok()) << back.error().message;
  std::vector<float> logits(engine->vocabulary());
  ASSERT_TRUE(engine->read(*back, std::span(ids).subspan(150), 64, 1, logits).ok());
  EXPECT_EQ(logits, expected.logits);
}

TEST(FilteredPrompt, plans_that_leave_heads_alone_are_refused) {
  const auto engine = Engine::create(
      source_path("models/tiny").string(),
      {.plan =
           R"({"settle": "prompt", "keep": {"selector": "fastkv", "ratio": 0.5, "heads": "1"}})",
       .kv_memory = size_t{64} << 20});
  ASSERT_FALSE(engine.ok());
  EXPECT_THAT(engine.error().message, HasSubstr("every head"));
}

}  // namespace
}  // namespace skvis::testing
